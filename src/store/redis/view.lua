-- Reads a delivery with its request and its attempts, as they are at one moment. (A transaction
-- would do, but a Redis without memory refuses those, even if they only read.)
-- ARGV: 2 delivery.
local id = ARGV[2]
return { call("HGETALL", P .. "h:" .. id), call("GET", P .. "r:" .. id), call("LRANGE", P .. "a:" .. id, 0, -1) }
