-- Brings keys of a format before 7 up to ours: deliveries, destinations and events were hashes, attempts
-- were lists. What is of ours already stays as it is.
-- ARGV: from 2 on, names of keys, of any kind. Answers how many were brought up.
allow_when_full()

-- The fields of a hash, by their names; nothing if it is none.
local function fields_of(key)
  if call("TYPE", key).ok ~= "hash" then return nil end
  local list, fields = call("HGETALL", key), {}
  for at = 1, #list, 2 do fields[list[at]] = list[at + 1] end
  return fields
end

local function number(text)
  return tonumber(text) or 0
end

-- How many there are.
local function bring_up_attempts(id)
  local key, framed = P .. "a:" .. id, {}
  if call("TYPE", key).ok ~= "list" then return 0 end
  for at, record in ipairs(call("LRANGE", key, 0, -1)) do framed[at] = struct.pack(">I4", #record) .. record end
  put(key, table.concat(framed))
  return #framed
end

local function bring_up_delivery(id, key)
  local f = fields_of(key)
  if not f then return end
  if not (f.a and f.s and #f.s == 1 and f.c and #f.c == 16 and f.e and #f.e == 16 and f.y and tonumber(f.m) and
    (not f.b or #f.b == 16)) then
    -- A part of it is gone: so it stays, and is told of as such.
    bring_up_attempts(id)
    put(key, "")
    return
  end
  local h = new_delivery(id, f.c, f.e, tonumber(f.m), f.a, f.d or "", f.g or "", f.y, f.i or "", f.o or "")
  h[STATE], h[TOKEN], h[LEASED_AT], h[TRIES], h[ATTEMPTS] = f.s, number(f.k), number(f.l), number(f.t), number(f.n)
  h[RECORDED] = bring_up_attempts(id)
  h[CRASHES], h[DUE_THERE], h[DUE], h[FINISHED] = number(f.x), number(f.u), number(f.w), number(f.f)
  h[SIZE], h[ERASED], h[UNRENDERED] = number(f.z), number(f.Z), number(f.U)
  h[REPLAYED], h[REASON] = f.b or NO_ID, f.r or ""
  write_delivery(h)
end

local function bring_up_destination(id, key)
  local f = fields_of(key)
  if not f then return end
  strings[key] = false
  local d = load(id)
  local line = 0
  for at, name in ipairs(LINES) do
    if f.z == name then line = at end
  end
  d[IN_FLIGHT], d[LINE], d[PROVEN], d[CONFIGURED], d[PAUSED] = number(f.f), line, number(f.v), number(f.c), number(f.p)
  d[SERVED], d[SLOTS], d[LEASE], d[RATE] = number(f.s), tonumber(f.m) or UNCONFIGURED, number(f.L), f.R or ""
  d[INTERVAL], d[TOLERANCE], d[EVEN], d[FAILURES] = number(f.i), number(f.o), number(f.e), number(f.x)
  local counts = {}
  for count in string.gmatch(f.y or "", "%d+") do counts[#counts + 1] = tonumber(count) end
  d[SLICE], d[TRIED], d[FAILED] = counts[1] or 0, counts[2] or 0, counts[3] or 0
  local older = {}
  for at = 4, 11 do older[#older + 1] = struct.pack(">I4", counts[at] or 0) end
  d[OLDER] = table.concat(older)
  d[SINCE], d[PROBES], d[PROBE_AT], d[FROM_TOKEN] = number(f.O), number(f.P), number(f.N), number(f.T)
  if f.O then call("SADD", P .. "co", id) end
  keep_destination(d)
end

local function bring_up_event(id, key)
  local f = fields_of(key)
  if not f then return end
  local account, dedupe, of_call = f.a or "", f.s or "", f.c or ""
  put(key, struct.pack(EVENT_FORM, number(f.z), #account, account, #dedupe, dedupe, #of_call, of_call) .. (f.b or ""))
end

-- Those of which there is no delivery; the others go with theirs.
local function bring_up_orphans(id)
  if call("TYPE", P .. "h:" .. id).ok ~= "hash" then bring_up_attempts(id) end
end

local kinds = { h = bring_up_delivery, d = bring_up_destination, e = bring_up_event, a = bring_up_orphans }
for at = 2, #ARGV do
  local kind, id = string.match(ARGV[at], "^(%a):(.*)$")
  if kinds[kind] then kinds[kind](id, P .. ARGV[at]) end
end
keep_deliveries()
local count = 0
for _ in pairs(written) do count = count + 1 end
return count
