-- Makes deliveries that are dead, or wait, due now, with their schedules from the beginning; how many.
-- ARGV: 2 account, 3 now as its process says, then the deliveries.
allow_when_full()
local account = ARGV[2]

local function retry(id)
  local h = delivery_of(id)
  if not h or h[ACCOUNT] ~= account or (h[STATE] ~= "x" and h[STATE] ~= "q") then return 0 end
  if call("EXISTS", P .. "r:" .. id) == 0 or is_removed(h[CALLBACK]) then return 0 end
  local was_held_back = h[STATE] == "q" and h[ORDER] ~= "" and
    call("ZRANGE", P .. "g:" .. h[TARGET] .. h[ORDER], 0, 0)[1] ~= id
  if h[STATE] == "x" then
    remove(P .. "xf", id)
    remove(P .. "is:x:" .. account, id)
    add(P .. "o:" .. account, "0", id)
    -- Those after it in its order have had their turn meanwhile: it waits for no other.
    h[REASON], h[FINISHED], h[CRASHES], h[ORDER] = "", 0, 0, ""
    set_birth(h)
  end
  h[STATE], h[TRIES], h[DUE_THERE], h[DUE] = "q", 0, tonumber(ARGV[3]), now
  write_delivery(h)
  -- One that is held back stays so.
  if was_held_back then return 1 end
  local d = load(h[TARGET])
  enqueue(d, id, now)
  refile(d)
  wake_for(d)
  return 1
end

local ids = {}
for at = 4, #ARGV do ids[#ids + 1] = ARGV[at] end
fetch_deliveries(ids)
local retried = 0
for _, id in ipairs(ids) do retried = retried + retry(id) end
return retried
