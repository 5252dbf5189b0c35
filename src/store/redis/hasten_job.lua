-- Makes a job that is not over due now, or right after the step that is under way; 0 if there is none.
-- ARGV: 2 job, 3 now as its process says, 4 the account that it must be of.
allow_when_full()
local id = ARGV[2]
local key = P .. "j:" .. id
local h = call("HMGET", key, "s", "p", "n", "e", "w", "a")
if not h[1] or h[4] or h[6] ~= ARGV[4] then return 0 end
if h[3] then
  call("HSET", key, "h", 1)
elseif tonumber(h[5]) > now then
  call("HSET", key, "u", ARGV[3])
  wait(id, h[1], h[2], now)
end
return 1
