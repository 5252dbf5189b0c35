-- Stands before the scripts that write deliveries, behind the prelude.

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
  if deliveries.count > 0 and call("ZCARD", P .. "o:" .. account) + deliveries.count > tonumber(most) then
    return { "full" }
  end
  if call("EXISTS", P .. "e:" .. event) == 1 then return { "taken" } end
  local ids = {}
  local function is_taken(id)
    if ids[id] or call("EXISTS", P .. "h:" .. id) == 1 then return true end
    ids[id] = true
  end
  for at = deliveries.first, deliveries.last, 10 do
    if is_taken(ARGV[at]) then return { "taken" } end
  end
  for at = deliveries.first_failed, deliveries.last_failed, 6 do
    if is_taken(ARGV[at]) then return { "taken" } end
  end
end

-- Writes an event; one that has a delivery which failed is kept as long as that.
local function write_event(account, event, record, received, deliveries)
  call("HSET", P .. "e:" .. event, "b", record, "a", account)
  call("ZADD", P .. "ie:" .. account, 0, event)
  call("ZADD", P .. (deliveries.last_failed >= deliveries.first_failed and "xk" or "xe"), received, event)
end

-- The lists in which a delivery is found.
local function list(id, account, callback, of_call)
  call("ZADD", P .. "i:" .. account, 0, id)
  call("ZADD", P .. "ic:" .. callback, 0, id)
  if of_call ~= "" then call("ZADD", P .. "ik:" .. account .. "\0" .. of_call, 0, id) end
end

-- Writes the deliveries of an event.
local function write_deliveries(account, event, deliveries)
  for at = deliveries.first, deliveries.last, 10 do
    local id, callback, destination, of_call = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 4]
    local created = ARGV[at + 5]
    local key = P .. "h:" .. id
    call("SET", P .. "r:" .. id, ARGV[at + 8])
    local due = now + tonumber(ARGV[at + 7])
    call("HSET", key, "a", account, "c", callback, "d", destination, "e", event, "y", ARGV[at + 3],
      "i", of_call, "m", created, "n", 0, "t", 0, "s", "q", "u", ARGV[at + 6], "w", due)
    list(id, account, callback, of_call)
    -- The registration may have been removed while the event was on its way.
    if call("HEXISTS", P .. "k:" .. callback, "r") == 1 then
      finish(id, account, event, "c", REMOVED, created, 0)
    else
      call("ZADD", P .. "o:" .. account, 0, id)
      local order = ARGV[at + 9]
      local held_back = false
      if order ~= "" then
        call("HSET", key, "g", order)
        held_back = join(id, destination, order)
      end
      if not held_back then call("ZADD", P .. "q:" .. destination, due, id) end
      -- One that is in line stays where it is.
      local filed = call("HGET", P .. "d:" .. destination, "z")
      if not held_back and filed ~= "lp" and filed ~= "lt" then
        local d = load(destination)
        refile(d)
        wake_for(d)
      end
    end
  end
  for at = deliveries.first_failed, deliveries.last_failed, 6 do
    local id, callback, of_call, created = ARGV[at], ARGV[at + 1], ARGV[at + 3], ARGV[at + 4]
    call("HSET", P .. "h:" .. id, "a", account, "c", callback, "e", event, "y", ARGV[at + 2],
      "i", of_call, "m", created, "t", 0)
    list(id, account, callback, of_call)
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
