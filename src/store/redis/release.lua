-- Gives leases back unused: the deliveries wait again as before, and their starts do not count
-- against the rate. Those that are not held any more are passed over.
-- ARGV: from 2 on, delivery and token in turn.
allow_when_full()
local ids = {}
for at = 2, #ARGV, 2 do ids[#ids + 1] = ARGV[at] end
fetch_deliveries(ids)
for at = 2, #ARGV, 2 do
  local id = ARGV[at]
  local h = delivery_of(id)
  if h and h[STATE] == "l" and h[TOKEN] == tonumber(ARGV[at + 1]) then
    local d = load(h[TARGET])
    remove(P .. "l", id)
    h[STATE] = "q"
    write_delivery(h)
    enqueue(d, id, h[DUE])
    d[IN_FLIGHT] = d[IN_FLIGHT] - 1
    if d[INTERVAL] > 0 and d[EVEN] > 0 then d[EVEN] = d[EVEN] - d[INTERVAL] end
    refile(d)
    wake_for(d)
  end
end
return 1
