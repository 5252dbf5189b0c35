-- Writes how a job stands after a step and ends its lease; 0, and nothing, if it is not held.
--
-- ARGV: 2 job, 3 token, 4 phase, 5 the record of its standing, 6 when it is due as its process says,
-- 7 the same from now in µs, 8 the provider's id ("" if there is none), 9 now as its process says.
allow_when_full()
local id, phase, provider_job = ARGV[2], ARGV[4], ARGV[8]
local key = P .. "j:" .. id
local h = call("HMGET", key, "n", "s", "h", "i")
if h[1] ~= ARGV[3] then return 0 end
local due, told = now + tonumber(ARGV[7]), ARGV[6]
-- It was asked for while it was worked on.
if h[3] and due > now then due, told = now, ARGV[9] end
if (h[4] or "") ~= provider_job then
  if h[4] then call("ZREM", P .. "jp:" .. h[2] .. "\0" .. h[4], id) end
  call("HDEL", key, "i")
  if provider_job ~= "" then
    call("HSET", key, "i", provider_job)
    call("ZADD", P .. "jp:" .. h[2] .. "\0" .. provider_job, 0, id)
  end
end
call("HSET", key, "p", phase, "g", ARGV[5], "u", told)
wait(id, h[2], phase, due)
return 1
