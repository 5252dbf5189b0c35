-- Stands before every script: the clock, the destinations, and how a delivery ends.
-- What each key holds is told in keys.md.
--
-- KEYS[1] is the prefix of all keys; its hash tag puts them into one slot of a Cluster.
-- ARGV[1] is the time in µs, or nothing for Redis' own clock. Only tests give a time.
local P = KEYS[1]
local call = redis.call
-- A script that does several things at a time shows one after the other here (each.lua).
local ARGV = ARGV
local now = tonumber(ARGV[1])
if not now then
  local time = call("TIME")
  now = time[1] * 1000000 + time[2]
end

-- The answer of a script that has failed; its first word says how. (Redis 6.2 tells of the place in front.)
local function refusal_of(failure)
  local words = type(failure) == "table" and failure.err or tostring(failure)
  words = string.gsub(words, "^@user_script: ?%d+: %-?", "")
  return { err = string.find(words, "^%u+ ") and words or "ERR " .. words }
end

-- What a script writes at its end, since nothing reads it before: a command costs more than what it
-- writes. Members of sorted sets, as score and member in turn; members that leave them; bytes that are
-- counted; and whatever else knows what it owes. shard.rs puts main.lua around every script, which
-- sees to it.
local added, removed, counted, owed = {}, {}, {}, {}

-- Puts a member into a sorted set, at the end.
local function add(key, score, member)
  local list = added[key]
  if not list then
    list = {}
    added[key] = list
  end
  list[#list + 1] = score
  list[#list + 1] = member
end

-- Takes a member out of a sorted set, at the end, and after everything that is put into one.
local function remove(key, member)
  local list = removed[key]
  if list then list[#list + 1] = member else removed[key] = { member } end
end

-- One command for as many as a list has, or few: `unpack` knows no more than some thousands.
local function in_parts(list, write)
  for first = 1, #list, 1000 do write(unpack(list, first, math.min(first + 999, #list))) end
end

-- What is wrong with one key keeps no other from being written: it fails the script afterwards.
local unwritten
local function try(...)
  local answer = redis.pcall(...)
  if type(answer) == "table" and answer.err then unwritten = unwritten or answer end
end

local function write_members()
  for key, list in pairs(added) do in_parts(list, function(...) try("ZADD", key, ...) end) end
  for key, list in pairs(removed) do in_parts(list, function(...) try("ZREM", key, ...) end) end
  added, removed = {}, {}
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

-- The destinations that this script has looked at. What it changes of them is written once.
local loaded = {}

local function load(id)
  if loaded[id] then return loaded[id] end
  local h = call("HMGET", P .. "d:" .. id, "f", "v", "s", "z", "c", "m", "p", "L", "i", "o", "e", "x", "y",
    "O", "P", "N", "T")
  local d = {
    id = id,
    in_flight = tonumber(h[1]) or 0,
    proven = h[2] == "1",
    served = tonumber(h[3]) or 0,
    filed = h[4] or "",
    configured = h[5] == "1",
    max = tonumber(h[6]) or UNCONFIGURED,
    paused = h[7] == "1",
    lease = tonumber(h[8]),
    interval = tonumber(h[9]),
    tolerance = tonumber(h[10]),
    even = tonumber(h[11]),
    -- Failures in a row; and attempts and failures by slices of time, the last first.
    failures = h[12] or "0",
    slices = h[13] or "",
    -- Only while its circuit is open.
    since = tonumber(h[14]),
    probes = tonumber(h[15]),
    probe_at = tonumber(h[16]),
    from_token = tonumber(h[17]),
    -- As Redis has it.
    kept = { f = h[1], v = h[2], s = h[3], z = h[4], e = h[11], x = h[12], y = h[13] },
  }
  loaded[id] = d
  return d
end

-- Finds out where a destination belongs after a change: aside (""), among those whose time will come
-- ("w"), or in the line of those that have shown that they take deliveries ("lp") or of those on
-- trial ("lt"). An idle one that nobody configured is forgotten. `first` is when the first that waits
-- for it is due, where that is known.
local function refile(d, first)
  local cap = d.max
  if not d.proven and cap > 1 then cap = 1 end
  local filed, score = "", 0
  if not d.paused and d.in_flight < cap then
    first = first or tonumber(call("ZRANGE", P .. "q:" .. d.id, 0, 0, "WITHSCORES")[2])
    if first then
      local at = first
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
  d.filed, d.score, d.is_changed = filed, score, true
  if filed == "" and not d.configured and d.in_flight == 0 then
    d.is_forgotten = true
    if d.since then call("SREM", P .. "co", d.id) end
    d.max, d.proven, d.paused, d.served, d.lease = UNCONFIGURED, false, false, 0, nil
    d.interval, d.tolerance, d.even, d.failures, d.slices = nil, nil, nil, "0", ""
    d.since, d.probes, d.probe_at, d.from_token = nil, nil, nil, nil
  end
end

-- A whole number as Redis keeps it. (One that a command is given costs much more to spell.)
local function text(number)
  return string.format("%d", number)
end

-- Writes what was changed of a destination, and puts it where it belongs.
local function write_destination(d)
  local id, kept = d.id, d.kept
  local key, was_filed, filed = P .. "d:" .. id, kept.z or "", d.filed
  local is_new = d.is_forgotten
  d.is_changed, d.is_forgotten = false, false
  if was_filed ~= "" and was_filed ~= filed then remove(P .. was_filed, id) end
  if is_new then
    call("DEL", key)
    kept = {}
    d.kept = kept
    if filed == "" and not d.configured and d.in_flight == 0 then
      loaded[id] = nil
      return
    end
  end
  local news = {}
  if d.in_flight ~= tonumber(kept.f) then
    kept.f = text(d.in_flight)
    news[1], news[2] = "f", kept.f
  end
  if d.proven ~= (kept.v == "1") or not kept.v then
    kept.v = d.proven and "1" or "0"
    news[#news + 1], news[#news + 2] = "v", kept.v
  end
  local has_been_served = d.served ~= tonumber(kept.s)
  if has_been_served then
    kept.s = text(d.served)
    news[#news + 1], news[#news + 2] = "s", kept.s
  end
  if filed ~= kept.z then
    kept.z = filed
    news[#news + 1], news[#news + 2] = "z", filed
  end
  if d.interval and d.even and d.even ~= tonumber(kept.e) then
    kept.e = text(d.even)
    news[#news + 1], news[#news + 2] = "e", kept.e
  end
  if d.failures ~= (kept.x or "0") then
    kept.x = d.failures
    news[#news + 1], news[#news + 2] = "x", kept.x
  end
  if d.slices ~= (kept.y or "") then
    kept.y = d.slices
    news[#news + 1], news[#news + 2] = "y", kept.y
  end
  if news[1] then call("HSET", key, unpack(news)) end
  if filed == "w" then
    add(P .. "w", d.score, id)
  elseif filed ~= "" and (was_filed ~= filed or has_been_served) then
    add(P .. filed, kept.s, id)
  end
end

-- The same for all that this script has changed.
local function write_destinations()
  for _, d in pairs(loaded) do
    if d.is_changed then write_destination(d) end
  end
  write_members()
end

-- Closes a destination's circuit, and forgets what was counted for it.
local function close_circuit(d)
  call("HDEL", P .. "d:" .. d.id, "O", "P", "N", "T", "x", "y")
  if d.since then call("SREM", P .. "co", d.id) end
  d.since, d.probes, d.probe_at, d.from_token = nil, nil, nil, nil
  d.failures, d.slices, d.kept.x, d.kept.y = "0", "", nil, nil
end

-- Wakes one of the processes that wait for work, at the end.
local is_work, waits = false, {}
local function wake() is_work = true end

-- Wakes one if this destination may be served now, or is the first whose time will come.
local function wake_for(d)
  if d.filed == "lp" or d.filed == "lt" then
    wake()
  elseif d.filed == "w" then
    waits[d.id] = true
  end
end

-- All that is written at the end.
local function write_out()
  write_destinations()
  for account, bytes in pairs(counted) do
    if bytes ~= 0 then call("HINCRBY", P .. "b", account, bytes) end
  end
  for _, write in ipairs(owed) do write() end
  if not is_work and next(waits) then is_work = waits[call("ZRANGE", P .. "w", 0, 0)[1]] end
  if is_work and call("LLEN", P .. "wake") == 0 then call("LPUSH", P .. "wake", 1) end
end

-- Whether a registration was removed. One whose limits are set was not.
local removals = {}
local function is_removed(callback)
  if loaded[callback] and loaded[callback].configured then return false end
  local is = removals[callback]
  if is == nil then
    is = call("HEXISTS", P .. "k:" .. callback, "r") == 1
    removals[callback] = is
  end
  return is
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
  counted[account] = (counted[account] or 0) + bytes
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
  remove(P .. "o:" .. account, id)
  if state == "d" then
    add(P .. "xd", at, id)
    return
  end
  add(P .. "xf", at, id)
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

-- Whether one of these keys is there already. The ids in them are made anew for everything that is
-- written, so that two of one script are the same only by mistake.
local names = {}
local function is_taken(keys)
  for _, key in ipairs(keys) do
    if names[key] then return true end
    names[key] = true
  end
  local taken = 0
  in_parts(keys, function(...) taken = taken + call("EXISTS", ...) end)
  return taken > 0
end

-- How many deliveries of an account are open, with those that this script adds.
local open = {}
local function count_open(account)
  if not open[account] then open[account] = call("ZCARD", P .. "o:" .. account) end
  return open[account]
end

-- Puts a delivery into the lists in which it is found.
local function list(account, id, callback, of_call)
  add(P .. "i:" .. account, "0", id)
  add(P .. "ic:" .. callback, "0", id)
  if of_call ~= "" then add(P .. "ik:" .. account .. "\0" .. of_call, "0", id) end
end

-- Writes a delivery, of which `add_delivery` in writing.rs gives the ten arguments from `at` on, and
-- the space of its call, if it is known. The first write is a SET, which a Redis without memory refuses.
local function put_delivery(account, event, at, space)
  local id, callback, destination, of_call = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 4]
  local created, record, order = ARGV[at + 5], ARGV[at + 8], ARGV[at + 9]
  local key = P .. "h:" .. id
  call("SET", P .. "r:" .. id, record)
  count_stored(account, #record)
  local due = now + tonumber(ARGV[at + 7])
  local due_text = text(due)
  local head = { "a", account, "c", callback, "d", destination, "e", event, "y", ARGV[at + 3], "i", of_call,
    "m", created, "n", "0", "t", "0", "s", "q", "u", ARGV[at + 6], "w", due_text, "z", #record, "o", space or "" }
  local d = load(destination)
  -- Its registration may have been removed while the event was on its way.
  local is_for_nobody = is_removed(callback)
  if order ~= "" and not is_for_nobody then
    head[#head + 1] = "g"
    head[#head + 1] = order
  end
  call("HSET", key, unpack(head))
  local version = late_version(record)
  if version then
    call("SADD", P .. "su:" .. event, id)
    call("SADD", P .. "vu:" .. callback .. version, id)
  end
  list(account, id, callback, of_call)
  if is_for_nobody then
    finish(id, account, event, "c", REMOVED, created, 0)
    return
  end
  add(P .. "o:" .. account, "0", id)
  open[account] = count_open(account) + 1
  if order ~= "" and join(id, destination, order) then return end
  call("ZADD", P .. "q:" .. destination, due_text, id)
  -- One that is in line stays where it is.
  if d.filed ~= "lp" and d.filed ~= "lt" then
    -- If it is in no line and could be served, nothing else waits for it.
    refile(d, d.filed == "" and due)
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
