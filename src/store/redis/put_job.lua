-- Writes a new job, unless there is one with its key that has not failed, or its account has too
-- many. The first write is a SET, which a Redis without memory refuses, and with it the whole.
--
-- ARGV: 2 job, 3 source, 4 key, 5 account, 6 its record, 7 phase, 8 the record of its standing,
-- 9 when it is due as its process says, 10 the same from now in µs, 11 the provider's id ("" if there
-- is none), 12 its deadline, 13 the most that its account may have open.
local id, source, account, phase = ARGV[2], ARGV[3], ARGV[5], ARGV[7]
local by_key = P .. "jk:" .. source .. "\0" .. ARGV[4]
local known = call("GET", by_key)
if known then return { "known", known } end
if call("SCARD", P .. "jo:" .. account) >= tonumber(ARGV[13]) then return { "full" } end
if call("EXISTS", P .. "j:" .. id) == 1 then return { "taken" } end
call("SET", by_key, id)
call("HSET", P .. "j:" .. id, "s", source, "y", ARGV[4], "a", account, "b", ARGV[6], "p", phase,
  "g", ARGV[8], "u", ARGV[9])
call("SADD", P .. "jo:" .. account, id)
-- One that never ends, because its source is gone, is removed as long after its deadline as others
-- after their end.
call("ZADD", P .. "xj", ARGV[12], id)
if ARGV[11] ~= "" then
  call("HSET", P .. "j:" .. id, "i", ARGV[11])
  call("ZADD", P .. "jp:" .. source .. "\0" .. ARGV[11], 0, id)
end
wait(id, source, phase, now + tonumber(ARGV[10]))
return { "stored" }
