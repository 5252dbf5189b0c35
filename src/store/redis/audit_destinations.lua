-- Looks whether destinations, and the registrations that they are, stand as what waits for them
-- demands. Changes nothing.
--
-- ARGV: 2 the most leases that are counted, then destinations. Answers { whether leases were counted,
-- how many registrations there are among them, then { destination, kind, sentence } for each thing that is wrong }.
local told, registrations = {}, 0
local counts = call("ZCARD", P .. "l") <= tonumber(ARGV[2])
local leased = {}
if counts then
  for _, id in ipairs(call("ZRANGE", P .. "l", 0, -1)) do
    local h = delivery_of(id)
    if h and h[STATE] == "l" then leased[h[TARGET]] = (leased[h[TARGET]] or 0) + 1 end
    deliveries[id], strings[P .. "h:" .. id] = nil, nil
  end
end

local function look(id)
  local function tell(kind, sentence)
    told[#told + 1] = { id, kind, sentence }
  end
  local is_whole, d = pcall(load, id)
  if not is_whole then
    tell("disagreement", "what is kept of it cannot be read: nothing that waits for it is sent")
    return
  end
  local k = call("HMGET", P .. "k:" .. id, "a", "m", "p", "r")
  if k[1] and not k[4] then
    registrations = registrations + 1
    if text(d[SLOTS]) ~= k[2] or text(d[PAUSED]) ~= (k[3] or "0") then
      tell("disagreement", "its limits are kept twice, and differ")
    end
  end
  if k[1] and not call("ZSCORE", P .. "kr", id) then
    tell("unlisted", "other processes never hear of this registration")
  end
  local is_paused = k[1] and not k[4] and k[3] == "1"
  if (call("ZSCORE", P .. "kp", id) and true or false) ~= (is_paused or false) then
    tell("misplaced", "it is among the paused and is not paused, or the other way round")
  end
  if call("EXISTS", P .. "qx:" .. id) == 1 and call("SISMEMBER", P .. "zx", id) == 0 then
    tell("stranded", "what waits for it is to be cancelled, and never would be")
  end
  if counts and d[IN_FLIGHT] ~= (leased[id] or 0) then
    tell("disagreement", "it counts other attempts in flight than are leased")
  end

  local waits = call("EXISTS", P .. "q:" .. id) == 1
  local may_be_served = waits and d[PAUSED] == 0 and d[IN_FLIGHT] < cap_of(d)
  for line, name in ipairs(LINES) do
    local is_there = call("ZSCORE", P .. name, id) and true or false
    if is_there ~= (d[LINE] == line) then tell("misplaced", "it stands in another line than it says") end
  end
  if may_be_served and d[LINE] == ASIDE then
    tell("stranded", "it has something to send, and is in no line: it would never be served")
  elseif d[LINE] ~= ASIDE and not may_be_served then
    tell("misplaced", "it is in line, and has nothing to send, no slot, or is paused")
  end
end

for at = 3, #ARGV do look(ARGV[at]) end
return { counts and 1 or 0, registrations, told }
