-- Makes deliveries that are dead, or wait, due now, with their schedules from the beginning; how many.
-- ARGV: 2 account, 3 now as its process says, then the deliveries.
allow_when_full()
local account = ARGV[2]

local function retry(id)
  local key = P .. "h:" .. id
  local h = call("HMGET", key, "a", "s", "c", "d", "g")
  if h[1] ~= account or (h[2] ~= "x" and h[2] ~= "q") then return 0 end
  if call("EXISTS", P .. "r:" .. id) == 0 or is_removed(h[3]) then return 0 end
  if h[2] == "x" then
    call("ZREM", P .. "xf", id)
    call("ZREM", P .. "is:x:" .. account, id)
    -- Those after it in its order have had their turn meanwhile: it waits for no other.
    call("HDEL", key, "r", "f", "x", "g")
    call("ZADD", P .. "o:" .. account, 0, id)
  end
  call("HSET", key, "s", "q", "t", 0, "u", ARGV[3], "w", now)
  -- One that is held back stays so.
  if h[2] == "q" and h[5] and call("ZRANGE", P .. "g:" .. h[4] .. h[5], 0, 0)[1] ~= id then return 1 end
  call("ZADD", P .. "q:" .. h[4], now, id)
  local d = load(h[4])
  refile(d)
  wake_for(d)
  return 1
end

local retried = 0
for at = 4, #ARGV do retried = retried + retry(ARGV[at]) end
return retried
