-- Writes attempts and what happens next; nothing of one, if its lease is not held.
--
-- ARGV: 2 the rules of circuits as below, 8 why a registration is paused whose circuit was open for too
-- long; from 9 on, the things, of each: 1 delivery, 2 token, 3 next (d delivered, x dead, r retry), 4 the
-- attempt's record, 5 when it ended, 6 when the next is due as its process says, 7 the same from now in
-- µs, 8 why it is dead, 9 why its registration is paused ("" if it is not), 10 what the attempt says of
-- its receiver (d takes deliveries, f does not, u nothing).
-- Answers each with { what it did to the circuit, the registration }: 0 the lease is not held,
-- 1 nothing, 2 opened, 3 a probe failed,
-- 4 given up, 5 closed (scheduler/circuit.rs says the same in Rust).
allow_when_full()
local UNCHANGED, OPENED, PROBE_FAILED, GIVEN_UP, CLOSED = 1, 2, 3, 4, 5
local SLICES = 5
local consecutive, share_of, slice_length = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local first_probe, longest_probe, give_up = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local slice_now = math.floor(now / slice_length)

local function pause_after(probes)
  return math.min(first_probe * 2 ^ math.min(probes, 32), longest_probe)
end

-- Begins to count anew in this slice of time, if the last attempt was in another.
local function begin_slice(d)
  local passed = slice_now - d[SLICE]
  if passed == 0 then return end
  if passed < 0 or passed >= SLICES then
    d[OLDER] = NO_SLICES
  else
    local last = struct.pack(">I4I4", d[TRIED], d[FAILED])
    d[OLDER] = string.sub(string.rep("\0", 8 * (passed - 1)) .. last .. d[OLDER], 1, #NO_SLICES)
  end
  d[SLICE], d[TRIED], d[FAILED] = slice_now, 0, 0
end

-- Counts an attempt for its destination's circuit.
local function count(d, verdict, token)
  if verdict == "u" then return UNCHANGED end
  if d[SINCE] > 0 then
    if verdict == "d" then
      forget_circuit(d)
      return CLOSED
    end
    -- It began when nobody knew.
    if token < d[FROM_TOKEN] then return UNCHANGED end
    d[PROBES] = d[PROBES] + 1
    d[PROBE_AT] = now + pause_after(d[PROBES])
    return now - d[SINCE] >= give_up and GIVEN_UP or PROBE_FAILED
  end
  begin_slice(d)
  d[TRIED] = d[TRIED] + 1
  if verdict == "d" then
    d[FAILURES] = 0
    return UNCHANGED
  end
  d[FAILED], d[FAILURES] = d[FAILED] + 1, d[FAILURES] + 1
  local all, failed = d[TRIED], d[FAILED]
  for at = 1, #NO_SLICES, 8 do
    local attempts, failures = struct.unpack(">I4I4", d[OLDER], at)
    all, failed = all + attempts, failed + failures
  end
  if d[FAILURES] < consecutive and not (all >= share_of and failed * 2 > all) then return UNCHANGED end
  d[SINCE], d[PROBES], d[PROBE_AT] = now, 0, now + pause_after(0)
  d[FROM_TOKEN] = (tonumber(call("HGET", P .. "n", "k")) or 0) + 1
  call("SADD", P .. "co", d.id)
  return OPENED
end

local ids = {}
each_at(9, function(at) ids[#ids + 1] = ARGV[at + 1] end)
fetch_deliveries(ids)

return each(9, function(at)
  local id, next_state, ended, pause = ARGV[at + 1], ARGV[at + 3], tonumber(ARGV[at + 5]), ARGV[at + 9]
  local h = delivery_of(id)
  if not h or h[STATE] ~= "l" or h[TOKEN] ~= tonumber(ARGV[at + 2]) then return { 0, "" } end
  local callback, destination, d = h[CALLBACK], h[TARGET], load(h[TARGET])
  -- What a call's erasure removed does not come back.
  local is_erased = h[ERASED] == 1
  if not is_erased then record_attempt(h, ARGV[at + 4]) end
  h[ATTEMPTS] = h[ATTEMPTS] + 1
  write_delivery(h)
  remove(P .. "l", id)
  local is_for_nobody = is_removed(callback)
  if next_state ~= "r" or is_for_nobody or is_erased then leave(h, is_for_nobody) end
  if next_state == "d" then
    finish(h, "d", nil, ended)
  elseif next_state == "x" then
    finish(h, "x", ARGV[at + 8], ended)
  elseif is_for_nobody then
    finish(h, "c", REMOVED, ended)
  elseif is_erased then
    finish(h, "c", "its call was erased", ended)
  else
    h[STATE], h[TRIES], h[CRASHES] = "q", h[TRIES] + 1, 0
    h[DUE_THERE], h[DUE] = tonumber(ARGV[at + 6]), now + tonumber(ARGV[at + 7])
    enqueue(d, id, h[DUE])
  end
  d[IN_FLIGHT] = d[IN_FLIGHT] - 1
  d[PROVEN] = ARGV[at + 10] == "d" and 1 or 0
  local change = count(d, ARGV[at + 10], h[TOKEN])
  -- A destination that several registrations share is probed on.
  if change == GIVEN_UP and pause == "" and destination == callback then pause = ARGV[8] end
  if pause ~= "" and not is_for_nobody and call("EXISTS", P .. "k:" .. callback) == 1 then
    if call("HGET", P .. "k:" .. callback, "p") ~= "1" then announce(h[ACCOUNT], callback, nil, pause, now) end
    call("HSET", P .. "k:" .. callback, "p", 1, "s", pause)
    local paused = load(callback)
    paused[PAUSED], paused[CONFIGURED] = 1, 1
    call("ZADD", P .. "kp", now, callback)
    changed(callback)
    if destination ~= callback then refile(paused) end
  end
  refile(d)
  wake_for(d)
  return { change, callback }
end)
