-- Marks an empty place as ours, or reads the mark.
-- ARGV: 2 our format, 3 a name that tells this data from any other, if there is none yet, 4 how many
-- shards there are to be, if nobody has said so.
-- Answers { format, name, shards, whether there is something of a format before 7 }.
local mark = call("HMGET", P .. "n", "F", "E", "S", "U")
if not mark[1] then
  -- There is nothing of formats before 4 that waits to be noted for the index.
  call("HSET", P .. "n", "F", ARGV[2], "E", ARGV[3], "C", 1)
  if ARGV[4] ~= "1" then call("HSET", P .. "n", "S", ARGV[4]) end
  return { tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4]), 0 }
end
-- An older one is ours from now on, and nobody older opens it again.
if tonumber(mark[1]) < tonumber(ARGV[2]) then
  call("HSET", P .. "n", "F", ARGV[2])
  if tonumber(mark[1]) < 7 then
    -- By its new name it is not what older ones know: one that was cut off and comes back leaves it alone.
    call("HSET", P .. "n", "U", 1, "E", ARGV[3])
    mark[2], mark[4] = ARGV[3], "1"
  end
end
return { tonumber(mark[1]), mark[2], tonumber(mark[3] or 1), tonumber(mark[4] or 0) }
