-- Writes attempts and what happens next; nothing of one, if its lease is not held.
--
-- ARGV of each: 2 delivery, 3 token, 4 next (d delivered, x dead, r retry), 5 the attempt's record,
-- 6 when it ended, 7 when the next is due as its process says, 8 the same from now in µs,
-- 9 why it is dead, 10 why its registration is paused ("" if it is not), 11 what the attempt says of
-- its receiver (d takes deliveries, f does not, u nothing), 12 the rules of circuits as below,
-- 18 why a registration is paused whose circuit was open for too long.
-- Answers each with { what it did to the circuit, the registration }: 0 the lease is not held,
-- 1 nothing, 2 opened, 3 a probe failed,
-- 4 given up, 5 closed (scheduler/circuit.rs says the same in Rust).
allow_when_full()
local UNCHANGED, OPENED, PROBE_FAILED, GIVEN_UP, CLOSED = 1, 2, 3, 4, 5
local SLICES = 5
local consecutive, share_of, slice_length, first_probe, longest_probe, give_up

local function pause_after(probes)
  return math.min(first_probe * 2 ^ math.min(probes, 32), longest_probe)
end

-- Counts an attempt for its destination's circuit.
local function count(d, verdict, token)
  if verdict == "u" then return UNCHANGED end
  local key = P .. "d:" .. d.id
  if d.since then
    if verdict == "d" then
      close_circuit(d)
      return CLOSED
    end
    -- It began when nobody knew.
    if token < d.from_token then return UNCHANGED end
    d.probes = d.probes + 1
    d.probe_at = now + pause_after(d.probes)
    call("HSET", key, "P", d.probes, "N", d.probe_at)
    -- Circuits that an older version opened are not counted yet.
    call("SADD", P .. "co", d.id)
    return now - d.since >= give_up and GIVEN_UP or PROBE_FAILED
  end
  -- Of this slice of time, and nothing but that one more has succeeded: most are so.
  local slice = math.floor(now / slice_length)
  local same, attempts, rest = string.match(d.slices, "^(%d+) (%d+)( .*)$")
  if verdict == "d" and same == text(slice) then
    d.failures, d.slices = "0", same .. " " .. text(attempts + 1) .. rest
    return UNCHANGED
  end
  local failures = verdict == "d" and 0 or tonumber(d.failures) + 1
  local counts = {}
  for number in string.gmatch(d.slices, "%d+") do counts[#counts + 1] = tonumber(number) end
  local passed = slice - (table.remove(counts, 1) or slice)
  if passed < 0 or passed >= SLICES then counts = {} end
  for _ = 1, (#counts == 0 and 1 or passed) do
    table.insert(counts, 1, 0)
    table.insert(counts, 1, 0)
  end
  for at = #counts, 2 * SLICES + 1, -1 do counts[at] = nil end
  counts[1] = counts[1] + 1
  if verdict == "f" then
    counts[2] = counts[2] + 1
    local all, failed = 0, 0
    for at = 1, #counts, 2 do
      all, failed = all + counts[at], failed + counts[at + 1]
    end
    if failures >= consecutive or (all >= share_of and failed * 2 > all) then
      d.since, d.probes, d.probe_at = now, 0, now + pause_after(0)
      d.from_token = (tonumber(call("HGET", P .. "n", "k")) or 0) + 1
      call("HSET", key, "O", d.since, "P", 0, "N", d.probe_at, "T", d.from_token)
      call("SADD", P .. "co", d.id)
      return OPENED
    end
  end
  d.failures, d.slices = text(failures), text(slice) .. " " .. table.concat(counts, " ")
  return UNCHANGED
end

return each(function()
  consecutive, share_of, slice_length = tonumber(ARGV[12]), tonumber(ARGV[13]), tonumber(ARGV[14])
  first_probe, longest_probe, give_up = tonumber(ARGV[15]), tonumber(ARGV[16]), tonumber(ARGV[17])
  local id, next_state, ended = ARGV[2], ARGV[4], ARGV[6]
  local key = P .. "h:" .. id
  local h = call("HMGET", key, "k", "c", "d", "a", "e", "t", "s", "n", "g", "Z")
  if h[7] ~= "l" or h[1] ~= ARGV[3] then return { 0, "" } end
  local callback, destination, account, event = h[2], h[3], h[4], h[5]
  -- What a call's erasure removed does not come back.
  local is_erased = h[10]
  if not is_erased then call("RPUSH", P .. "a:" .. id, ARGV[5]) end
  remove(P .. "l", id)
  local attempts = tonumber(h[8]) + 1
  local d = load(destination)
  local is_for_nobody = is_removed(callback)
  if next_state ~= "r" or is_for_nobody or is_erased then leave(id, destination, h[9], is_for_nobody) end
  if next_state == "d" then
    finish(id, account, event, "d", nil, ended, attempts)
  elseif next_state == "x" then
    finish(id, account, event, "x", ARGV[9], ended, attempts)
  elseif is_for_nobody then
    finish(id, account, event, "c", REMOVED, ended, attempts)
  elseif is_erased then
    finish(id, account, event, "c", "its call was erased", ended, attempts)
  else
    local due = now + tonumber(ARGV[8])
    call("HSET", key, "s", "q", "t", tonumber(h[6]) + 1, "n", attempts, "x", 0, "u", ARGV[7], "w", due)
    call("ZADD", P .. "q:" .. destination, due, id)
  end
  d.in_flight = d.in_flight - 1
  d.proven = ARGV[11] == "d"
  local change = count(d, ARGV[11], tonumber(ARGV[3]))
  local pause = ARGV[10]
  -- A destination that several registrations share is probed on.
  if change == GIVEN_UP and pause == "" and destination == callback then pause = ARGV[18] end
  if pause ~= "" and not is_for_nobody and call("EXISTS", P .. "k:" .. callback) == 1 then
    if call("HGET", P .. "k:" .. callback, "p") ~= "1" then announce(account, callback, nil, pause, now) end
    call("HSET", P .. "k:" .. callback, "p", 1, "s", pause)
    local paused = load(callback)
    call("HSET", P .. "d:" .. callback, "p", 1, "c", 1)
    paused.paused, paused.configured = true, true
    call("ZADD", P .. "kp", now, callback)
    changed(callback)
    if destination ~= callback then refile(paused) end
  end
  refile(d)
  wake_for(d)
  return { change, callback }
end)
