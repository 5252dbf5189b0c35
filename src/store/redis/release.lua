-- Gives leases back unused: the deliveries wait again as before, and their starts do not count
-- against the rate. Those that are not held any more are passed over.
-- ARGV: from 2 on, delivery and token in turn.
allow_when_full()
for at = 2, #ARGV, 2 do
  local id = ARGV[at]
  local key = P .. "h:" .. id
  local h = call("HMGET", key, "k", "d", "w", "s")
  if h[4] == "l" and h[1] == ARGV[at + 1] then
    call("ZREM", P .. "l", id)
    call("HSET", key, "s", "q")
    call("ZADD", P .. "q:" .. h[2], h[3], id)
    local d = load(h[2])
    d.in_flight = d.in_flight - 1
    if d.interval and d.even then d.even = d.even - d.interval end
    refile(d)
    wake_for(d)
  end
end
return 1
