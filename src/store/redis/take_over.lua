-- Makes data of a format before 7 ours: from now on nobody older opens it. It gets a new name, so that one who
-- was cut off and comes back does not know it.
-- ARGV: 2 our format, 3 the name.
allow_when_full()
if tonumber(call("HGET", P .. "n", "F")) < 7 then
  call("HSET", P .. "n", "F", ARGV[2], "U", 1, "E", ARGV[3])
end
