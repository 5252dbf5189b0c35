-- Removes what deliveries of a call that is erased sent and were answered, and cancels those that
-- wait. One that is leased is not waited for: if it fails, it is not tried again (settle.lua).
--
-- ARGV: 2 account, 3 why they are cancelled, then the deliveries.
allow_when_full()
for at = 4, #ARGV do
  local id = ARGV[at]
  local h = call("HMGET", P .. "h:" .. id, "a", "s", "d", "e", "n", "g", "c")
  if h[1] == ARGV[2] then
    if h[2] == "q" then
      call("ZREM", P .. "q:" .. h[3], id)
      call("ZREM", P .. "qx:" .. h[3], id)
      leave(id, h[3], h[6], is_removed(h[7]))
      finish(id, h[1], h[4], "c", ARGV[3], now, h[5])
      local d = load(h[3])
      refile(d)
      wake_for(d)
    end
    call("HSET", P .. "h:" .. id, "Z", 1)
    drop_request(id, h[4], h[7])
    call("UNLINK", P .. "a:" .. id)
    -- The delivery stays, and is not to be taken off once more.
    count_stored(h[1], -(tonumber(call("HGET", P .. "h:" .. id, "z")) or 0))
    call("HDEL", P .. "h:" .. id, "z")
  end
end
