-- Stands before the scripts that write an event with its deliveries, behind the prelude.

-- Finds a part of ARGV that begins here: how many deliveries, then 10 for each, then how many that
-- failed, then 6 for each. Answers with the places of the first and the last of both, and with what
-- is behind them.
local function find_deliveries(at)
  local count = tonumber(ARGV[at])
  local failures_at = at + 1 + 10 * count
  local failures = tonumber(ARGV[failures_at])
  return { count = count, first = at + 1, last = failures_at - 1, first_failed = failures_at + 1,
    last_failed = failures_at + 6 * failures, behind = failures_at + 6 * failures + 1 }
end

-- Why an event and its deliveries cannot be written, if they cannot; most may be open.
local function refusal(account, event, deliveries, most)
  if deliveries.count > 0 and count_open(account) + deliveries.count > tonumber(most) then
    return { "full" }
  end
  local keys = { P .. "e:" .. event }
  for at = deliveries.first, deliveries.last, 10 do keys[#keys + 1] = P .. "h:" .. ARGV[at] end
  for at = deliveries.first_failed, deliveries.last_failed, 6 do keys[#keys + 1] = P .. "h:" .. ARGV[at] end
  if is_taken(keys) then return { "taken" } end
end

-- Writes an event, and what else is said of it, as fields and values in turn; one that has a delivery
-- which failed is kept as long as that.
local function write_event(account, event, record, received, deliveries, ...)
  call("HSET", P .. "e:" .. event, "b", record, "a", account, "z", #record, ...)
  count_stored(account, #record)
  add(P .. "ie:" .. account, "0", event)
  add(P .. (deliveries.last_failed >= deliveries.first_failed and "xk" or "xe"), received, event)
end

-- Writes the deliveries of an event, which tell of a call of this space, if it is known.
local function write_deliveries(account, event, deliveries, space)
  for at = deliveries.first, deliveries.last, 10 do put_delivery(account, event, at, space) end
  for at = deliveries.first_failed, deliveries.last_failed, 6 do
    local id, callback, of_call, created = ARGV[at], ARGV[at + 1], ARGV[at + 3], ARGV[at + 4]
    call("HSET", P .. "h:" .. id, "a", account, "c", callback, "e", event, "y", ARGV[at + 2],
      "i", of_call, "m", created, "t", 0, "o", space or "")
    list(account, id, callback, of_call)
    finish(id, account, event, "f", ARGV[at + 5], created, 0)
  end
end

-- Says what became of a call that a speech request waits for, if it still does: a reason, or its
-- delivery.
local function answer(call_name, request, state, what)
  local place = call("HGET", P .. "uw:" .. call_name, request)
  if not place then return end
  call("HDEL", P .. "uw:" .. call_name, request)
  call("HSET", P .. "u:" .. request, "s" .. place, state, "r" .. place, what)
end
