-- Writes a registration and its destination's limits. One that was removed stays removed, and one
-- of another account stays as it is.
--
-- ARGV: 2 registration, 3 account, 4 max in flight, 5 rate ("count/period" in µs, "" for none),
-- 6 interval, 7 tolerance, 8 "1" if its deliveries wait, 9 "1" if there is a reason for it,
-- 10 the reason, 11 definition, 12 an attempt's deadline in µs, 13 how long its lease lasts; and to
-- remember an answer: 14 its key, 15 the answer, 16 for how long, in ms. If there is one already,
-- that is the answer, and nothing is written.
local id = ARGV[2]
if ARGV[14] then
  local earlier = call("GET", P .. "y:" .. ARGV[14])
  if earlier then return earlier end
end
local key = P .. "k:" .. id
local old = call("HMGET", key, "a", "r")
if old[2] or (old[1] and old[1] ~= ARGV[3]) then return 0 end
if ARGV[14] then call("SET", P .. "y:" .. ARGV[14], ARGV[15], "PX", ARGV[16]) end
call("HSET", key, "a", ARGV[3], "m", ARGV[4], "R", ARGV[5], "p", ARGV[8], "b", ARGV[11], "t", ARGV[12])
if ARGV[9] == "1" then call("HSET", key, "s", ARGV[10]) else call("HDEL", key, "s") end
if ARGV[8] == "1" then call("ZADD", P .. "kp", now, id) else call("ZREM", P .. "kp", id) end

local d = load(id)
local place = P .. "d:" .. id
-- One that was paused and is not any more is tried at once.
if d.configured and d.paused and ARGV[8] ~= "1" then close_circuit(d) end
-- A rate that is the same as before goes on counting.
if (call("HGET", place, "R") or "") ~= ARGV[5] then
  call("HDEL", place, "e", "i", "o")
  d.even = nil
  d.interval, d.tolerance = tonumber(ARGV[6]), tonumber(ARGV[7])
  if d.interval then call("HSET", place, "i", d.interval, "o", d.tolerance) end
end
call("HSET", place, "m", ARGV[4], "R", ARGV[5], "p", ARGV[8], "c", 1, "L", ARGV[13])
d.max, d.paused, d.configured = tonumber(ARGV[4]), ARGV[8] == "1", true
refile(d)
wake_for(d)
changed(id)
return 1
