-- Removes what deliveries of a call that is erased sent and were answered, and cancels those that
-- wait. One that is leased is not waited for: if it fails, it is not tried again (settle.lua).
--
-- ARGV: 2 account, 3 why they are cancelled, then the deliveries.
allow_when_full()
local ids = {}
for at = 4, #ARGV do ids[#ids + 1] = ARGV[at] end
fetch_deliveries(ids)
for _, id in ipairs(ids) do
  local h = delivery_of(id)
  if h and h[ACCOUNT] == ARGV[2] then
    if h[STATE] == "q" then
      local d = load(h[TARGET])
      call("ZREM", P .. "q:" .. h[TARGET], id)
      call("ZREM", P .. "qx:" .. h[TARGET], id)
      d.first = nil
      leave(h, is_removed(h[CALLBACK]))
      finish(h, "c", ARGV[3], now)
      refile(d)
      wake_for(d)
    end
    drop_request(h)
    drop(P .. "a:" .. id)
    -- The delivery stays, and is not to be taken off once more.
    uncount(h)
    h[ERASED], h[RECORDED] = 1, 0
    write_delivery(h)
  end
end
