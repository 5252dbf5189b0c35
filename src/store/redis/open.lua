-- Marks an empty place as ours, or reads the mark.
-- ARGV: 2 our format, 3 a name that tells this data from any other, if there is none yet.
-- Answers { format, name }.
local mark = call("HMGET", P .. "n", "F", "E")
if not mark[1] then
  -- There is nothing of formats before 4 that waits to be noted for the index.
  call("HSET", P .. "n", "F", ARGV[2], "E", ARGV[3], "C", 1)
  return { tonumber(ARGV[2]), ARGV[3] }
end
-- An older one is ours from now on, and nobody older opens it again.
if tonumber(mark[1]) < tonumber(ARGV[2]) then call("HSET", P .. "n", "F", ARGV[2]) end
return { tonumber(mark[1]), mark[2] }
