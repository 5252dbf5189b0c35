-- Writes a speech request, what became of its calls and what it delivers at once; nothing, if a call
-- that it is to wait for has been written to since it was read, or if its answer is remembered.
--
-- ARGV: 2 request, 3 account, 4 when it was made, and to remember its answer: 5 the key ("" for none),
-- 6 the answer, 7 for how long, in ms; 8 the event of its deliveries ("" for none), 9 its record,
-- 10 the most that may be open, 11 its deliveries as in deliveries.lua; behind them, how many calls, then
-- for each: the name behind the account's, the version that was read, the state, and the reason or
-- the delivery.
local request, account, created, event = ARGV[2], ARGV[3], ARGV[4], ARGV[8]
local deliveries = find_deliveries(11)
local first_call, last_call = deliveries.behind + 1, deliveries.behind + 4 * tonumber(ARGV[deliveries.behind])

if ARGV[5] ~= "" then
  local earlier = call("GET", P .. "y:" .. ARGV[5])
  if earlier then return { "answered", earlier } end
end
if call("EXISTS", P .. "u:" .. request) == 1 then return { "taken" } end
local refused = refusal(account, event, deliveries, ARGV[10])
if refused then return refused end
for at = first_call, last_call, 4 do
  if ARGV[at + 2] == "submitted" and call("HGET", P .. "c:" .. account .. "\0" .. ARGV[at], "v") ~= ARGV[at + 1] then
    return { "conflict" }
  end
end

call("HSET", P .. "u:" .. request, "a", account, "m", created)
if ARGV[5] ~= "" then call("SET", P .. "y:" .. ARGV[5], ARGV[6], "PX", ARGV[7]) end
local place = 0
for at = first_call, last_call, 4 do
  place = place + 1
  local name = account .. "\0" .. ARGV[at]
  call("HSET", P .. "u:" .. request, "k" .. place, ARGV[at], "s" .. place, ARGV[at + 2], "r" .. place, ARGV[at + 3])
  if ARGV[at + 2] == "submitted" then
    call("HSET", P .. "uw:" .. name, request, place)
    -- Whoever has read the call, and not the request, reads both again.
    call("HINCRBY", P .. "c:" .. name, "v", 1)
  end
end
if event ~= "" then
  write_event(account, event, ARGV[9], created, line_of_event(deliveries), "", "")
  write_deliveries(account, event, deliveries)
  for at = first_call, last_call, 4 do
    local h = ARGV[at + 2] == "ready" and delivery_of(ARGV[at + 3])
    if h then
      h[SPACE] = string.match(ARGV[at], "^%Z*")
      set_birth(h)
      write_delivery(h)
    end
  end
end
return { "stored" }
