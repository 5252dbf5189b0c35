-- Says whose calls are to be put into the index, to one process at a time.
--
-- ARGV: 2 who asks, 3 for how long it is its turn, in ms, 4 at least so many notes, 5 at most so many
-- accounts. Answers { whether it is its turn, whether all calls of formats before are noted, accounts }.
allow_when_full()
local holder = call("GET", P .. "nl")
if holder and holder ~= ARGV[2] then return { 0, 1, {} } end
call("SET", P .. "nl", ARGV[2], "PX", ARGV[3])
return { 1, call("HEXISTS", P .. "n", "C"),
  call("ZREVRANGEBYSCORE", P .. "nu", "+inf", ARGV[4], "LIMIT", 0, ARGV[5]) }
