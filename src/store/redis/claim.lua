-- Leases up to so many due deliveries: one at a time to the destination that was served least
-- recently, as far as its limits and the slots allow (scheduler/mod.rs says the same in Rust).
--
-- ARGV: 2 slots, 3 how many of them for destinations on trial, 4 how long a lease lasts in µs
-- where the registration says nothing,
-- 5 after how many bytes of requests no further one is taken, 6 the longest time between two probes.
-- Answers { claims, when to come again (0: only when something changes), what was unreadable }.
allow_when_full()
slots, trials, lease_time = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local room, longest_probe = tonumber(ARGV[5]), tonumber(ARGV[6])

-- After so long a destination is tried again of which something cannot be written.
local DAMAGED_PAUSE = 60000000

-- Bytes in their own order: `<` would ask the server's locale.
local function less(one, other)
  for at = 1, #one do
    local a, b = string.byte(one, at), string.byte(other, at)
    if a ~= b then return a < b end
  end
  return false
end

-- Reads destinations at once.
local function fetch_destinations(ids)
  local keys = {}
  for at, id in ipairs(ids) do keys[at] = P .. "d:" .. id end
  fetch(keys)
  return ids
end

local last_claim = tonumber(call("HGET", P .. "n", "t")) or 0
if last_claim - now > 1000000 then
  -- The clock was set back: what waits for a rate or for a probe would wait too long.
  for _, id in ipairs(fetch_destinations(call("ZREVRANGE", P .. "w", 0, 9999))) do
    local d = load(id)
    if d[PROBE_AT] > now + longest_probe then d[PROBE_AT] = now + longest_probe end
    refile(d)
  end
end
for _, id in ipairs(fetch_destinations(call("ZRANGEBYSCORE", P .. "w", "-inf", now, "LIMIT", 0, 1000))) do
  refile(load(id))
end

-- The next in line, of both lines: those that were served least recently first. Whoever is served
-- goes behind all of them, so that the lines are read again only when all of these had their turn.
local function next_in_line(count)
  write_destinations()
  local proven = call("ZRANGE", P .. "lp", 0, count - 1, "WITHSCORES")
  local trial = trials > 0 and call("ZRANGE", P .. "lt", 0, math.min(count, trials) - 1, "WITHSCORES") or {}
  local line, p, t = {}, 1, 1
  while #line < count and (proven[p] or trial[t]) do
    local takes_trial = not proven[p]
    if proven[p] and trial[t] then
      local one, other = tonumber(proven[p + 1]), tonumber(trial[t + 1])
      takes_trial = other < one or (other == one and less(trial[t], proven[p]))
    end
    if takes_trial then
      line[#line + 1] = trial[t]
      t = t + 2
    else
      line[#line + 1] = proven[p]
      p = p + 2
    end
  end
  return fetch_destinations(line)
end

-- Takes the first that waits for each of these, as many as there is room for, and reads them: destination,
-- delivery, when that was due, and its record, four in a row.
local bytes = 0
local function take_heads(line)
  local heads, keys, last = {}, {}, 0
  for _, id in ipairs(line) do
    -- One that is damaged blocks nobody else.
    local is_whole, d = pcall(load, id)
    local head = is_whole and call("ZPOPMIN", P .. "q:" .. id) or {}
    if head[1] then
      d.first = nil
      heads[last + 1], heads[last + 2], heads[last + 3], heads[last + 4] = d, head[1], head[2], false
      last = last + 4
      keys[#keys + 1] = P .. "h:" .. head[1]
    elseif is_whole then
      d.first = false
      refile(d)
    else
      for _, name in ipairs(LINES) do call("ZREM", P .. name, id) end
    end
  end
  fetch(keys)
  local requests = {}
  for place, key in ipairs(keys) do
    local at, record = 4 * place - 3, strings[key]
    if bytes >= room then
      call("ZADD", P .. "q:" .. heads[at].id, heads[at + 2], heads[at + 1])
      heads[at] = false
    else
      local size = size_of_waiting(record)
      -- Of some that an older version wrote nobody knows how many bytes they have.
      if size == 0 then size = call("STRLEN", P .. "r:" .. heads[at + 1]) end
      bytes = bytes + (size or 0)
      heads[at + 3] = size and record
      requests[#requests + 1] = P .. "r:" .. heads[at + 1]
    end
  end
  fetch(requests)
  return heads
end

local claims, unreadable = {}, {}
local function serve(d, delivery, record)
  local request, token = get(P .. "r:" .. delivery), begin_service(d)
  local callback, tries
  if record and request then callback, tries = read_waiting(record) end
  -- Whole, or nothing is done with it: an error here would lose it.
  if callback and not is_removed(callback) then
    put(P .. "h:" .. delivery, leased_record(record, token))
    claims[#claims + 1] = { delivery, token, callback, tries + 1, d[PROVEN] == 0 and 1 or 0, request }
    take_slot(d, delivery)
  else
    -- Its registration was removed, or a part of it is gone: set aside, and the rest goes on.
    local h = delivery_of(delivery)
    d[PROVEN] = 0
    if h then leave(h, callback) end
    if h and callback then
      finish(h, "c", REMOVED, now)
    else
      unreadable[#unreadable + 1] = delivery
      if h then finish(h, "x", "its stored request cannot be read", now) end
    end
  end
  refile(d)
end

while slots > 0 and bytes < room do
  local line = next_in_line(slots)
  if not line[1] then break end
  local heads = take_heads(line)
  for at = 1, #heads, 4 do
    local d, id = heads[at], heads[at + 1]
    if d and not pcall(serve, d, id, heads[at + 3]) then
      -- It is over, or leased, or it waits on; the rest goes on.
      unreadable[#unreadable + 1] = id
      local h = delivery_of(id)
      if not (h and (h.is_changed or h[STATE] == "l")) then
        call("ZADD", P .. "q:" .. d.id, heads[at + 2], id)
        d[LINE], d.time, d.is_changed = WAITING, now + DAMAGED_PAUSE, true
      end
    end
  end
end
call("HSET", P .. "n", "t", text(now))

write_destinations()
local proven, trial = call("EXISTS", P .. "lp") == 1, call("EXISTS", P .. "lt") == 1
local at = tonumber(call("ZRANGE", P .. "w", 0, 0, "WITHSCORES")[2]) or 0
if proven or (trial and trials > 0) then at = now end
-- What is left over is for another process, if there is one that waits.
if #claims > 0 and (proven or trial) then wake() end
return { claims, at, unreadable }
