-- Makes a store what one of format 6 is: deliveries, destinations and events are hashes, attempts are lists.
local P = "{rb0}:"
local call = redis.call

local function ids(kind)
  local found = {}
  for _, key in ipairs(call("KEYS", P .. kind .. "*")) do found[#found + 1] = string.sub(key, #P + #kind + 1) end
  return found
end

-- Writes a hash of those fields that have a value.
local function write(key, fields)
  call("DEL", key)
  for name, value in pairs(fields) do
    if type(value) == "number" then value = string.format("%d", value) end
    call("HSET", key, name, value)
  end
end

local function some(number)
  if number ~= 0 then return number end
end

for _, id in ipairs(ids("h:")) do
  local key = P .. "h:" .. id
  local record = call("GET", key)
  local state, token, leased_at, tries, attempts, _, crashes, due_there, due, finished, size, erased, unrendered,
    replayed, callback, event, created, account, destination, order, kind, of_call, space, behind =
    struct.unpack(">c1I8i8I4I4I4I4i8i8i8I8BBc16c16c16i8Hc0Hc0Hc0Hc0Hc0Hc0", record)
  local fields = { s = state, k = some(token), l = some(leased_at), t = tries, n = attempts, x = some(crashes),
    u = due_there, w = due, f = some(finished), z = some(size), Z = some(erased), U = some(unrendered), c = callback,
    e = event, m = created, a = account, y = kind, i = of_call, o = space }
  if destination ~= "" then fields.d = destination end
  if order ~= "" then fields.g = order end
  if replayed ~= string.rep("\0", 16) then fields.b = replayed end
  if behind <= #record then fields.r = string.sub(record, behind) end
  write(key, fields)
end

for _, id in ipairs(ids("a:")) do
  local key = P .. "a:" .. id
  local records, at = call("GET", key), 1
  call("DEL", key)
  while at <= #records do
    local size, begins = struct.unpack(">I4", records, at)
    call("RPUSH", key, string.sub(records, begins, begins + size - 1))
    at = begins + size
  end
end

for _, id in ipairs(ids("d:")) do
  local key = P .. "d:" .. id
  local record = call("GET", key)
  local in_flight, line, proven, configured, paused, served, slots, lease, interval, tolerance, even, failures, slice,
    tried, failed, older, since, probes, probe_at, from_token, behind =
    struct.unpack(">I4BBBBI8I4I8I8I8I8I4I8I4I4c32I8I4I8I8", record)
  local slices = { slice, tried, failed }
  for at = 1, 32, 4 do slices[#slices + 1] = (struct.unpack(">I4", older, at)) end
  for at, number in ipairs(slices) do slices[at] = string.format("%d", number) end
  write(key, { f = in_flight, z = ({ [0] = "", "w", "lp", "lt" })[line], v = proven, c = some(configured),
    p = paused, s = served, m = slots, L = some(lease), i = some(interval), o = some(tolerance), e = some(even),
    x = failures, y = slice > 0 and table.concat(slices, " ") or nil, O = some(since), P = since > 0 and probes or nil,
    N = some(probe_at), T = some(from_token), R = string.sub(record, behind) })
end

for _, id in ipairs(ids("e:")) do
  local key = P .. "e:" .. id
  local event = call("GET", key)
  local size, account, dedupe, of_call, behind = struct.unpack(">I8Hc0Hc0Hc0", event)
  write(key, { z = size, a = account, b = string.sub(event, behind), s = dedupe ~= "" and dedupe or nil,
    c = of_call ~= "" and of_call or nil })
end

call("HSET", P .. "n", "F", 6)
