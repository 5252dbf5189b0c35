-- Keeps an event that could not be read.
-- ARGV: 2 event, 3 received at, 4 the event's record, 5 account.
call("HSET", P .. "e:" .. ARGV[2], "b", ARGV[4], "a", ARGV[5], "z", #ARGV[4])
count_stored(ARGV[5], #ARGV[4])
call("ZADD", P .. "ie:" .. ARGV[5], 0, ARGV[2])
call("ZADD", P .. "xk", ARGV[3], ARGV[2])
return 1
