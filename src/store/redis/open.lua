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
local is_old = mark[4] or tonumber(mark[1]) < 7
return { tonumber(mark[1]), mark[2], tonumber(mark[3] or 1), is_old and 1 or 0 }
