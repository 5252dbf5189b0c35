-- Stands before the scripts that write an event with its deliveries, behind the prelude.

-- Finds a part of ARGV that begins here: how many deliveries, then 9 for each, then how many that
-- failed, then 6 for each. Answers with the places of the first and the last of both, and with what
-- is behind them.
local function find_deliveries(at)
  local count = tonumber(ARGV[at])
  local failures_at = at + 1 + 9 * count
  local failures = tonumber(ARGV[failures_at])
  return { count = count, first = at + 1, last = failures_at - 1, first_failed = failures_at + 1,
    last_failed = failures_at + 6 * failures, behind = failures_at + 6 * failures + 1 }
end

-- Adds the keys of an event and its deliveries to others.
local function names_of(event, deliveries, keys)
  keys[#keys + 1] = P .. "e:" .. event
  for at = deliveries.first, deliveries.last, 9 do keys[#keys + 1] = P .. "h:" .. ARGV[at] end
  for at = deliveries.first_failed, deliveries.last_failed, 6 do keys[#keys + 1] = P .. "h:" .. ARGV[at] end
  return keys
end

-- Why an event and its deliveries cannot be written, if they cannot; most may be open.
local function refusal(account, event, deliveries, most)
  if deliveries.count > 0 and count_open(account) + deliveries.count > tonumber(most) then
    return { "full" }
  end
  if is_taken(names_of(event, deliveries, {})) then return { "taken" } end
end

-- Which of an event's lines it stands in: with a delivery that failed it is kept as long as that.
local function line_of_event(deliveries)
  return deliveries.last_failed >= deliveries.first_failed and "xk" or "xe"
end

-- Writes the deliveries of an event; those that failed tell of a call of this space, if it is known. Answers
-- which are leased, three numbers in a row: the how manieth, the token, and 1 if it is on trial.
local function write_deliveries(account, event, deliveries, space)
  local leased = {}
  for at = deliveries.first, deliveries.last, 9 do
    local token, is_on_trial = put_delivery(account, event, at)
    if token then
      leased[#leased + 1] = (at - deliveries.first) / 9
      leased[#leased + 1] = token
      leased[#leased + 1] = is_on_trial and 1 or 0
    end
  end
  for at = deliveries.first_failed, deliveries.last_failed, 6 do
    local h = new_delivery(ARGV[at], ARGV[at + 1], event, tonumber(ARGV[at + 4]), account, "", "", ARGV[at + 2],
      ARGV[at + 3], space or "")
    list(h.id, account, h[CALLBACK], h[CALL])
    finish(h, "f", ARGV[at + 5], h[CREATED])
  end
  return leased
end

-- Says what became of a call that a speech request waits for, if it still does: a reason, or its
-- delivery.
local function answer(call_name, request, state, what)
  local place = call("HGET", P .. "uw:" .. call_name, request)
  if not place then return end
  call("HDEL", P .. "uw:" .. call_name, request)
  call("HSET", P .. "u:" .. request, "s" .. place, state, "r" .. place, what)
end
