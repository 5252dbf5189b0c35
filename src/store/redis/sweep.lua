-- Removes some of what has outlived its retention; how much that was.
--
-- ARGV: 2 at most so many of each kind, 3 the time to judge by; what is older than these goes:
-- 4 delivered, 5 failed, 6 calls.
allow_when_full()
local chunk, at, delivered, failed, calls = ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5], ARGV[6]
local removed = 0

-- A paused registration collects as long as failed deliveries are kept, and no longer. Those that
-- were looked at longest ago come first.
for _, callback in ipairs(call("ZRANGE", P .. "kp", 0, 999)) do
  local waiting = call("ZRANGEBYSCORE", P .. "q:" .. callback, "-inf", failed, "LIMIT", 0, chunk)
  fetch_deliveries(waiting)
  for _, id in ipairs(waiting) do
    call("ZREM", P .. "q:" .. callback, id)
    local h = delivery_of(id)
    if h then
      leave(h, false)
      finish(h, "x", "its registration was paused for longer than failed deliveries are kept", at)
    end
  end
  if #waiting > 0 then
    local d = load(callback)
    d.first = nil
    refile(d)
  end
  removed = removed + #waiting
  call("ZADD", P .. "kp", now, callback)
  if removed >= tonumber(chunk) then break end
end

local function forget(line, before)
  local old = call("ZRANGEBYSCORE", P .. line, "-inf", before, "LIMIT", 0, chunk)
  fetch_deliveries(old)
  for _, id in ipairs(old) do
    local h = delivery_of(id)
    remove(P .. line, id)
    if h then
      unlist(h)
      if h[STATE] ~= "d" then remove(P .. "is:" .. h[STATE] .. ":" .. h[ACCOUNT], id) end
      count_stored(h[ACCOUNT], -h[SIZE])
      drop_request(h)
    end
    forget_delivery(id)
  end
  removed = removed + #old
end
forget("xd", delivered)
forget("xf", failed)

local function forget_events(line, before)
  local old = call("ZRANGEBYSCORE", P .. line, "-inf", before, "LIMIT", 0, chunk)
  for _, id in ipairs(old) do
    local e = event_of(id)
    if e then
      -- Redis forgets a dedupe key by itself when it expires; one that should have, goes now.
      local seen = e.dedupe ~= "" and call("GET", P .. "s:" .. e.dedupe)
      if seen and string.sub(seen, 1, 16) == id and tonumber(string.sub(seen, 17)) <= at then
        call("DEL", P .. "s:" .. e.dedupe)
      end
      forget_event(id, e)
    else
      remove(P .. line, id)
      drop(P .. "e:" .. id)
    end
  end
  removed = removed + #old
end
forget_events("xe", delivered)
forget_events("xk", failed)

local ended = call("ZRANGEBYSCORE", P .. "xj", "-inf", failed, "LIMIT", 0, chunk)
for _, id in ipairs(ended) do forget_job(id) end
removed = removed + #ended

local old = call("ZRANGEBYSCORE", P .. "xc", "-inf", calls, "LIMIT", 0, chunk)
for _, name in ipairs(old) do
  forget_call(string.sub(name, 1, string.find(name, "\0", 1, true) - 1), name)
end
return removed + #old
