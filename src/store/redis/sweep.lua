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
  for _, id in ipairs(waiting) do
    call("ZREM", P .. "q:" .. callback, id)
    local h = call("HMGET", P .. "h:" .. id, "a", "e", "n", "g")
    leave(id, callback, h[4], false)
    if h[1] then
      finish(id, h[1], h[2], "x",
        "its registration was paused for longer than failed deliveries are kept", at, h[3])
    end
  end
  if #waiting > 0 then refile(load(callback)) end
  removed = removed + #waiting
  call("ZADD", P .. "kp", now, callback)
  if removed >= tonumber(chunk) then break end
end

local function forget(line, before)
  local old = call("ZRANGEBYSCORE", P .. line, "-inf", before, "LIMIT", 0, chunk)
  for _, id in ipairs(old) do
    local key = P .. "h:" .. id
    local h = call("HMGET", key, "a", "c", "i", "s", "z", "e")
    call("ZREM", P .. line, id)
    if h[1] then
      call("ZREM", P .. "i:" .. h[1], id)
      call("ZREM", P .. "ic:" .. h[2], id)
      call("ZREM", P .. "ik:" .. h[1] .. "\0" .. h[3], id)
      call("ZREM", P .. "is:" .. h[4] .. ":" .. h[1], id)
      count_stored(h[1], -(tonumber(h[5]) or 0))
      drop_request(id, h[6], h[2])
    end
    call("UNLINK", key, P .. "r:" .. id, P .. "a:" .. id)
  end
  removed = removed + #old
end
forget("xd", delivered)
forget("xf", failed)

local function forget_events(line, before)
  local old = call("ZRANGEBYSCORE", P .. line, "-inf", before, "LIMIT", 0, chunk)
  for _, id in ipairs(old) do
    -- Redis forgets a dedupe key by itself when it expires; one that should have, goes now.
    local e = call("HMGET", P .. "e:" .. id, "s", "a", "z", "c")
    local name = e[1]
    if e[2] then
      call("ZREM", P .. "ie:" .. e[2], id)
      if e[4] then call("ZREM", P .. "ce:" .. e[4], id) end
      count_stored(e[2], -(tonumber(e[3]) or 0))
    end
    local seen = name and call("GET", P .. "s:" .. name)
    if seen and string.sub(seen, 1, 16) == id and tonumber(string.sub(seen, 17)) <= at then
      call("DEL", P .. "s:" .. name)
    end
    call("ZREM", P .. line, id)
    call("UNLINK", P .. "e:" .. id)
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
