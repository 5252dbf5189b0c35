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
    local h = call("HMGET", P .. "h:" .. id, "d", "s")
    if h[1] and h[2] == "l" then leased[h[1]] = (leased[h[1]] or 0) + 1 end
  end
end

local function look(id)
  local function tell(kind, sentence)
    told[#told + 1] = { id, kind, sentence }
  end
  local d = load(id)
  local k = call("HMGET", P .. "k:" .. id, "a", "m", "p", "r")
  if k[1] and not k[4] then
    registrations = registrations + 1
    local kept = call("HMGET", P .. "d:" .. id, "m", "p")
    if kept[1] ~= k[2] or (kept[2] or "0") ~= (k[3] or "0") then
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
  if counts and d.in_flight ~= (leased[id] or 0) then
    tell("disagreement", "it counts other attempts in flight than are leased")
  end

  local waits = call("EXISTS", P .. "q:" .. id) == 1
  local cap = d.max
  if not d.proven and cap > 1 then cap = 1 end
  local may_be_served = waits and not d.paused and d.in_flight < cap
  for _, line in ipairs({ "w", "lp", "lt" }) do
    local is_there = call("ZSCORE", P .. line, id) and true or false
    if is_there ~= (d.filed == line) then tell("misplaced", "it stands in another line than it says") end
  end
  if may_be_served and d.filed == "" then
    tell("stranded", "it has something to send, and is in no line: it would never be served")
  elseif d.filed ~= "" and not may_be_served then
    tell("misplaced", "it is in line, and has nothing to send, no slot, or is paused")
  end
end

for at = 3, #ARGV do look(ARGV[at]) end
return { counts and 1 or 0, registrations, told }
