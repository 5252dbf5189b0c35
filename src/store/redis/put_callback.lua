-- Writes a registration and its destination's limits. One that was removed stays removed, and one
-- of another account stays as it is.
--
-- ARGV: 2 registration, 3 account, 4 max in flight, 5 rate ("count/period" in µs, "" for none),
-- 6 interval, 7 tolerance, 8 "1" if its deliveries wait, 9 "1" if there is a reason for it,
-- 10 the reason, 11 definition, 12 an attempt's deadline in µs, 13 how long its lease lasts,
-- 14 the definition's version; and to remember an answer: 15 its key, 16 the answer, 17 for how long,
-- in ms. If there is one already, that is the answer, and nothing is written.
local id = ARGV[2]
if ARGV[15] then
  local earlier = call("GET", P .. "y:" .. ARGV[15])
  if earlier then return earlier end
end
local key = P .. "k:" .. id
local old = call("HMGET", key, "a", "r", "V", "b")
if old[2] or (old[1] and old[1] ~= ARGV[3]) then return 0 end
if ARGV[15] then call("SET", P .. "y:" .. ARGV[15], ARGV[16], "PX", ARGV[17]) end
-- The definition that it has had is kept as long as a late delivery names it.
local former = id .. (old[3] or NO_VERSION)
if old[4] and former ~= id .. ARGV[14] and call("EXISTS", P .. "vu:" .. former) == 1 then
  call("SET", P .. "vd:" .. former, old[4])
end
call("HSET", key, "a", ARGV[3], "m", ARGV[4], "R", ARGV[5], "p", ARGV[8], "b", ARGV[11], "t", ARGV[12],
  "V", ARGV[14])
if ARGV[9] == "1" then call("HSET", key, "s", ARGV[10]) else call("HDEL", key, "s") end
if ARGV[8] == "1" then call("ZADD", P .. "kp", now, id) else call("ZREM", P .. "kp", id) end

-- What is kept of a destination and cannot be read begins anew.
local is_whole = pcall(load, id)
if not is_whole then drop(P .. "d:" .. id) end
local d = load(id)
if not is_whole then d.first = nil end
-- One that was paused and is not any more is tried at once.
if d[CONFIGURED] == 1 and d[PAUSED] == 1 and ARGV[8] ~= "1" then forget_circuit(d) end
-- A rate that is the same as before goes on counting.
if d[RATE] ~= ARGV[5] then
  d[RATE], d[EVEN], d[INTERVAL], d[TOLERANCE] = ARGV[5], 0, tonumber(ARGV[6]) or 0, tonumber(ARGV[7]) or 0
end
d[SLOTS], d[PAUSED], d[CONFIGURED], d[LEASE] = tonumber(ARGV[4]), ARGV[8] == "1" and 1 or 0, 1, tonumber(ARGV[13])
refile(d)
wake_for(d)
changed(id)
return 1
