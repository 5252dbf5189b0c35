-- Writes deliveries that are made anew in place of earlier ones, or nothing. Everything is checked
-- before the first write.
--
-- ARGV: 2 account, 3 "1" if those may be made anew that were before, 4 the most that may be open,
-- 5 the key of the answer to remember ("" for none), 6 the answer, 7 for how long, in ms, 8 how many,
-- then for each the earlier one, the event, and 9 more.
local account, again = ARGV[2], ARGV[3] == "1"
local last = 8 + 11 * tonumber(ARGV[8])
if ARGV[5] ~= "" then
  local earlier = call("GET", P .. "y:" .. ARGV[5])
  if earlier then return { "answered", earlier } end
end
local ids = {}
for at = 9, last, 11 do ids[#ids + 1] = ARGV[at] end
fetch_deliveries(ids)
for at = 9, last, 11 do
  local h = delivery_of(ARGV[at])
  if not h or h[ACCOUNT] ~= account or (h[REPLAYED] ~= NO_ID and not again) then return { "conflict" } end
  if is_taken({ P .. "h:" .. ARGV[at + 2] }) then return { "taken" } end
end
if count_open(account) + tonumber(ARGV[8]) > tonumber(ARGV[4]) then return { "full" } end

if ARGV[5] ~= "" then call("SET", P .. "y:" .. ARGV[5], ARGV[6], "PX", ARGV[7]) end
for at = 9, last, 11 do
  local earlier = delivery_of(ARGV[at])
  put_delivery(account, ARGV[at + 1], at + 2)
  -- Only here is the space of its call known.
  local h = delivery_of(ARGV[at + 2])
  h[SPACE] = earlier[SPACE]
  set_birth(h)
  write_delivery(h)
  earlier[REPLAYED] = ARGV[at + 2]
  write_delivery(earlier)
end
return { "stored" }
