-- Stands before every script, behind prelude.lua: destinations, and where each stands in line.

-- A destination is a list of what is kept of it, in this order; names beside them are this script's own.
-- 0 is none, and no; 1 is yes. (A table with names would cost several times what it is read for.)
--
-- How many are in flight; its line; whether it has shown that it takes deliveries; whether it was
-- configured, and is paused; when it was served, as a token; its slots; how long a lease lasts; the
-- spacing of its starts, how far ahead of that they may come, and how far they have come; failures in a
-- row; the slice of time that is counted, attempts and failures in it, and in those before it; and while its
-- circuit is open, since when, how many probes have failed, when the next is, and from which token on
-- attempts are probes; the length of its rate, and that as it was given.
local IN_FLIGHT, LINE, PROVEN, CONFIGURED, PAUSED, SERVED, SLOTS, LEASE, INTERVAL, TOLERANCE, EVEN, FAILURES,
  SLICE, TRIED, FAILED, OLDER, SINCE, PROBES, PROBE_AT, FROM_TOKEN, RATE =
  1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21
local DESTINATION = ">I4BBBBI8I4I8I8I8I8I4I8I4I4c32I8I4I8I8"
local DESTINATION_SIZE = 132

-- Its lines: aside, among those whose time will come, in line, in line on trial.
local ASIDE, WAITING, READY, ON_TRIAL = 0, 1, 2, 3
local LINES = { "w", "lp", "lt" }

-- The slots of one that nobody configured, as in scheduler/destination.rs.
local UNCONFIGURED = 16

-- Nothing was tried in four slices of time: attempts and failures of each.
local NO_SLICES = string.rep("\0", 32)

-- The destinations that this script has looked at. What it changes of them is written once.
local loaded = {}

-- How many attempts it may have in flight.
local function cap_of(d)
  if d[PROVEN] == 0 and d[SLOTS] > 1 then return 1 end
  return d[SLOTS]
end

local function load(id)
  local d = loaded[id]
  if d then return d end
  local record = get(P .. "d:" .. id)
  if record then
    d = { struct.unpack(DESTINATION, record) }
    d[RATE] = string.sub(record, DESTINATION_SIZE + 1)
    d.record = record
  else
    d = { 0, ASIDE, 0, 0, 0, 0, UNCONFIGURED, 0, 0, 0, 0, 0, 0, 0, 0, NO_SLICES, 0, 0, 0, 0, "" }
  end
  d.id, d.was_in, d.was_served = id, d[LINE], d[SERVED]
  -- When the first that waits for it is due: false if none waits, nothing if that is to be looked up. (What
  -- is in line was due: it stays so if the clock was set back since.)
  if d[LINE] == ASIDE then
    if d[PAUSED] == 0 and d[IN_FLIGHT] < cap_of(d) then d.first = false end
  elseif d[LINE] ~= WAITING then
    d.first = 0
  end
  loaded[id] = d
  return d
end

-- Has a delivery wait for a destination, which is to be filed anew afterwards.
local function enqueue(d, id, due)
  call("ZADD", P .. "q:" .. d.id, text(due), id)
  if d.first == false or (d.first and due < d.first) then d.first = due end
end

-- Forgets what was counted for a destination's circuit, and closes it.
local function forget_circuit(d)
  if d[SINCE] > 0 then call("SREM", P .. "co", d.id) end
  d[SINCE], d[PROBES], d[PROBE_AT], d[FROM_TOKEN] = 0, 0, 0, 0
  d[FAILURES], d[SLICE], d[TRIED], d[FAILED], d[OLDER] = 0, 0, 0, 0, NO_SLICES
end

-- Finds out where a destination belongs after a change: aside, among those whose time will come, or in
-- the line of those that have shown that they take deliveries or of those on trial. An idle one that
-- nobody configured is forgotten.
local function refile(d)
  local line = ASIDE
  if d[PAUSED] == 0 and d[IN_FLIGHT] < cap_of(d) then
    local first = d.first
    if first == nil then
      first = tonumber(call("ZRANGE", P .. "q:" .. d.id, 0, 0, "WITHSCORES")[2]) or false
      d.first = first
    end
    if first then
      local at = first
      if d[INTERVAL] > 0 and d[EVEN] > 0 then
        -- If the clock was set back, no start waits longer than after a full burst.
        local latest = now + d[TOLERANCE] + d[INTERVAL]
        if d[EVEN] > latest then d[EVEN] = latest end
        if d[EVEN] - d[TOLERANCE] > at then at = d[EVEN] - d[TOLERANCE] end
      end
      if d[PROBE_AT] > at then at = d[PROBE_AT] end
      if at > now then
        line, d.time = WAITING, at
      else
        line = d[PROVEN] == 1 and READY or ON_TRIAL
      end
    end
  end
  d[LINE], d.is_changed = line, true
  if line == ASIDE and d[CONFIGURED] == 0 and d[IN_FLIGHT] == 0 then
    forget_circuit(d)
    d[SLOTS], d[PROVEN], d[PAUSED], d[SERVED], d[LEASE] = UNCONFIGURED, 0, 0, 0, 0
    d[INTERVAL], d[TOLERANCE], d[EVEN], d[RATE] = 0, 0, 0, ""
  end
end

local function keep_destination(d)
  -- What is damaged counts wrong; less than none is none.
  if d[IN_FLIGHT] < 0 then d[IN_FLIGHT] = 0 end
  local record = struct.pack(DESTINATION, unpack(d, 1, FROM_TOKEN)) .. d[RATE]
  if record ~= d.record then
    d.record = record
    put(P .. "d:" .. d.id, record)
  end
end

-- Writes what was changed of a destination, and puts it where it belongs.
local function write_destination(d)
  local id, line, was_in = d.id, d[LINE], d.was_in
  d.is_changed = false
  if was_in ~= ASIDE and was_in ~= line then remove(P .. LINES[was_in], id) end
  if line == WAITING then
    add(P .. "w", text(d.time), id)
  elseif line ~= ASIDE and (was_in ~= line or d[SERVED] ~= d.was_served) then
    add(P .. LINES[line], text(d[SERVED]), id)
  end
  d.was_in, d.was_served = line, d[SERVED]
  if line == ASIDE and d[CONFIGURED] == 0 and d[IN_FLIGHT] == 0 then
    if d.record then drop(P .. "d:" .. id) end
    loaded[id] = nil
  else
    keep_destination(d)
  end
end

-- The same for all that this script has changed.
local function write_destinations()
  for _, d in pairs(loaded) do
    if d.is_changed then write_destination(d) end
  end
  write_members()
end

-- Wakes somebody if this destination may be served now, or is the first whose time will come.
local function wake_for(d)
  if d[LINE] == WAITING then
    waits[d.id] = true
  elseif d[LINE] ~= ASIDE then
    wake()
  end
end

-- Whether a registration was removed. One whose limits are set was not.
local removals = {}
local function is_removed(callback)
  if loaded[callback] and loaded[callback][CONFIGURED] == 1 then return false end
  local is = removals[callback]
  if is == nil then
    is = call("HEXISTS", P .. "k:" .. callback, "r") == 1
    removals[callback] = is
  end
  return is
end
