-- Stands before every script: the clock, the destinations, and how a delivery ends.
-- What each key holds is told in mod.rs.
--
-- KEYS[1] is the prefix of all keys; its hash tag puts them into one slot of a Cluster.
-- ARGV[1] is the time in µs, or nothing for Redis' own clock. Only tests give a time.
local P = KEYS[1]
local call = redis.call
local now = tonumber(ARGV[1])
if not now then
  local time = call("TIME")
  now = time[1] * 1000000 + time[2]
end

-- The slots of a destination that nobody configured, as in scheduler/destination.rs.
local UNCONFIGURED = 16
local REMOVED = "its registration was removed"

-- The version of a definition that was written before there were versions.
local NO_VERSION = string.rep("\0", 16)

-- A full Redis must drain: a script that has written once may go on writing, and a DEL is always
-- allowed. (`#!lua flags=allow-oom` says the same, but Redis 6.2 cannot read it.)
local function allow_when_full()
  call("DEL", P .. "none")
end

local function load(id)
  local h = call("HMGET", P .. "d:" .. id, "m", "i", "o", "e", "p", "c", "f", "v", "s", "z", "L",
    "O", "P", "N", "T")
  return {
    id = id,
    max = tonumber(h[1]) or UNCONFIGURED,
    interval = tonumber(h[2]),
    tolerance = tonumber(h[3]),
    even = tonumber(h[4]),
    paused = h[5] == "1",
    configured = h[6] == "1",
    in_flight = tonumber(h[7]) or 0,
    proven = h[8] == "1",
    served = tonumber(h[9]) or 0,
    filed = h[10] or "",
    lease = tonumber(h[11]),
    -- Only while its circuit is open.
    since = tonumber(h[12]),
    probes = tonumber(h[13]),
    probe_at = tonumber(h[14]),
    from_token = tonumber(h[15]),
  }
end

-- Puts a destination where it belongs after a change, and keeps it: aside (""), among those whose
-- time will come ("w"), or in the line of those that have shown that they take deliveries ("lp")
-- or of those on trial ("lt"). An idle one that nobody configured is forgotten.
local function refile(d)
  local cap = d.max
  if not d.proven and cap > 1 then cap = 1 end
  local filed, score = "", 0
  if not d.paused and d.in_flight < cap then
    local first = call("ZRANGE", P .. "q:" .. d.id, 0, 0, "WITHSCORES")
    if first[1] then
      local at = tonumber(first[2])
      if d.interval and d.even then
        -- If the clock was set back, no start waits longer than after a full burst.
        local latest = now + d.tolerance + d.interval
        if d.even > latest then d.even = latest end
        if d.even - d.tolerance > at then at = d.even - d.tolerance end
      end
      if d.probe_at and d.probe_at > at then at = d.probe_at end
      if at > now then
        filed, score = "w", at
      elseif d.proven then
        filed, score = "lp", d.served
      else
        filed, score = "lt", d.served
      end
    end
  end
  if d.filed ~= "" and d.filed ~= filed then call("ZREM", P .. d.filed, d.id) end
  if filed ~= "" then call("ZADD", P .. filed, score, d.id) end
  d.filed = filed
  local key = P .. "d:" .. d.id
  if filed == "" and not d.configured and d.in_flight == 0 then
    call("DEL", key)
    if d.since then call("SREM", P .. "co", d.id) end
  elseif d.interval and d.even then
    call("HSET", key, "f", d.in_flight, "v", d.proven and 1 or 0, "s", d.served, "z", filed, "e", d.even)
  else
    call("HSET", key, "f", d.in_flight, "v", d.proven and 1 or 0, "s", d.served, "z", filed)
  end
end

-- Closes a destination's circuit, and forgets what was counted for it.
local function close_circuit(d)
  call("HDEL", P .. "d:" .. d.id, "O", "P", "N", "T", "x", "y")
  if d.since then call("SREM", P .. "co", d.id) end
  d.since, d.probes, d.probe_at, d.from_token = nil, nil, nil, nil
end

-- Wakes one of the processes that wait for work.
local function wake()
  if call("LLEN", P .. "wake") == 0 then call("LPUSH", P .. "wake", 1) end
end

-- Wakes one if this destination may be served now, or is the first whose time will come.
local function wake_for(d)
  if d.filed == "lp" or d.filed == "lt" then
    wake()
  elseif d.filed == "w" and call("ZRANGE", P .. "w", 0, 0)[1] == d.id then
    wake()
  end
end

-- Puts a delivery behind all of its order; whether it is held back.
local function join(id, destination, order)
  local key = P .. "g:" .. destination .. order
  local last = call("ZREVRANGE", key, 0, 0, "WITHSCORES")
  call("ZADD", key, (tonumber(last[2]) or 0) + 1, id)
  return last[1] ~= nil
end

-- A delivery has ended: it is the turn of the next of its order, if it had one. The destination is
-- to be filed anew afterwards.
local function leave(id, destination, order, is_removed)
  if not order then return end
  local key = P .. "g:" .. destination .. order
  local is_head = call("ZRANGE", key, 0, 0)[1] == id
  call("ZREM", key, id)
  local next_one = is_head and call("ZRANGE", key, 0, 0)[1]
  if not next_one then return end
  local due = tonumber(call("HGET", P .. "h:" .. next_one, "w")) or now
  if is_removed then
    call("ZADD", P .. "qx:" .. destination, due, next_one)
    call("SADD", P .. "zx", destination)
  else
    call("ZADD", P .. "q:" .. destination, due, next_one)
  end
end

-- Notes something that registrations may want to hear of; delivery is nothing if the registration
-- was paused. reading.rs takes it apart.
local function announce(account, callback, delivery, reason, at)
  call("ZADD", P .. "an", at, callback .. (delivery or string.rep("\0", 16)) ..
    string.format("%.0f", at) .. "\0" .. account .. "\0" .. reason)
end

-- Counts bytes that are stored for an account, or not any more. Each record says by itself (`z`) how
-- much it was counted for: those of an older version were not, and are not taken off.
local function count_stored(account, bytes)
  if bytes ~= 0 then call("HINCRBY", P .. "b", account, bytes) end
end

-- Of a request that is yet to be rendered, the version of the definition that it names (form.rs): such
-- a record begins with a byte that no other begins with.
local function late_version(record)
  if record and string.byte(record) == 0 then return string.sub(record, 2, 17) end
end

-- A late delivery was rendered, or never will be. What it was to be rendered from goes with the last
-- that needs it.
local function forget_late(id, event, callback, version)
  call("SREM", P .. "su:" .. event, id)
  if call("EXISTS", P .. "su:" .. event) == 0 then
    local s = call("HMGET", P .. "sn:" .. event, "a", "z")
    if s[1] then count_stored(s[1], -tonumber(s[2])) end
    call("UNLINK", P .. "sn:" .. event)
  end
  local definition = callback .. version
  call("SREM", P .. "vu:" .. definition, id)
  if call("EXISTS", P .. "vu:" .. definition) == 0 then call("UNLINK", P .. "vd:" .. definition) end
end

-- Removes what a delivery sends.
local function drop_request(id, event, callback)
  local version = late_version(call("GETRANGE", P .. "r:" .. id, 0, 16))
  if version then forget_late(id, event, callback, version) end
  call("UNLINK", P .. "r:" .. id)
end

-- Ends a delivery that will not be sent again. States: d delivered, x dead, f failed, c cancelled.
local function finish(id, account, event, state, reason, at, attempts)
  local key = P .. "h:" .. id
  -- What is left of its queue and its lease says nothing in any of these states.
  if reason then
    call("HSET", key, "s", state, "f", at, "n", attempts, "r", reason)
  else
    call("HSET", key, "s", state, "f", at, "n", attempts)
  end
  call("ZREM", P .. "o:" .. account, id)
  if state == "d" then
    call("ZADD", P .. "xd", at, id)
    return
  end
  call("ZADD", P .. "xf", at, id)
  call("ZADD", P .. "is:" .. state .. ":" .. account, 0, id)
  if state == "f" or state == "c" then
    -- One that was not rendered yet never will be.
    if late_version(call("GETRANGE", P .. "r:" .. id, 0, 16)) then
      local h = call("HMGET", key, "c", "z")
      drop_request(id, event, h[1])
      count_stored(account, -(tonumber(h[2]) or 0))
      call("HDEL", key, "z")
      call("HSET", key, "U", 1)
    end
  end
  if state == "x" then
    local h = call("HMGET", key, "c", "y")
    -- But not of one that would itself have told of such a thing, or that would never end.
    if h[1] and h[2] ~= "delivery.dead" and h[2] ~= "callback.paused" then
      announce(account, h[1], id, reason, tonumber(at))
    end
  end
  if state == "x" or state == "f" then
    -- What a delivery came from that is dead or failed is kept as long as the delivery.
    local received = call("ZSCORE", P .. "xe", event)
    if received then
      call("ZREM", P .. "xe", event)
      call("ZADD", P .. "xk", received, event)
    end
  end
end

-- Whether an id of a delivery is stored already, or was asked for before.
local ids = {}
local function is_taken(id)
  if ids[id] or call("EXISTS", P .. "h:" .. id) == 1 then return true end
  ids[id] = true
end

-- Puts a delivery into the lists in which it is found.
local function list(account, id, callback, of_call)
  call("ZADD", P .. "i:" .. account, 0, id)
  call("ZADD", P .. "ic:" .. callback, 0, id)
  if of_call ~= "" then call("ZADD", P .. "ik:" .. account .. "\0" .. of_call, 0, id) end
end

-- Writes a delivery, of which `add_delivery` in writing.rs gives the ten arguments from `at` on, and
-- the space of its call, if it is known. The first write is a SET, which a Redis without memory refuses.
local function put_delivery(account, event, at, space)
  local id, callback, destination, of_call = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 4]
  local created = ARGV[at + 5]
  local key = P .. "h:" .. id
  call("SET", P .. "r:" .. id, ARGV[at + 8])
  count_stored(account, #ARGV[at + 8])
  local due = now + tonumber(ARGV[at + 7])
  call("HSET", key, "a", account, "c", callback, "d", destination, "e", event, "y", ARGV[at + 3],
    "i", of_call, "m", created, "n", 0, "t", 0, "s", "q", "u", ARGV[at + 6], "w", due,
    "z", #ARGV[at + 8], "o", space or "")
  local version = late_version(ARGV[at + 8])
  if version then
    call("SADD", P .. "su:" .. event, id)
    call("SADD", P .. "vu:" .. callback .. version, id)
  end
  list(account, id, callback, of_call)
  -- The registration may have been removed while the event was on its way.
  if call("HEXISTS", P .. "k:" .. callback, "r") == 1 then
    finish(id, account, event, "c", REMOVED, created, 0)
    return
  end
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

-- Notes that a registration was changed, under a number that never comes again, even if Redis
-- loses its last second.
local function changed(callback)
  local revision = (tonumber(call("HGET", P .. "n", "v")) or 0) + 1
  if revision < now then revision = now end
  call("HSET", P .. "n", "v", revision)
  call("ZADD", P .. "kr", revision, callback)
end
