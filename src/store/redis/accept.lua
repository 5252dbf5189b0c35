-- Writes an event, its call's context and its deliveries, or nothing. Everything is checked before
-- the first write, because an error in mid-script takes nothing back. The first write is a SET,
-- which a Redis without memory refuses, and with it the whole script.
--
-- ARGV: 2 account, 3 event, 4 received at, 5 "1" to keep it as long as what failed, 6 dedupe key,
-- 7 until when it counts, 8 the same from now in ms, 9 the event's record, 10 call ("" for none),
-- 11 the version that was read, 12 context, 13 the most that may be open, 14 how many deliveries,
-- then 10 for each, then how many that failed, then 6 for each.
local account, event, received = ARGV[2], ARGV[3], tonumber(ARGV[4])
local count = tonumber(ARGV[14])
local failures_at = 15 + 10 * count
local failures = tonumber(ARGV[failures_at])

local seen_key = P .. "s:" .. ARGV[6]
local seen = call("GET", seen_key)
if seen and tonumber(string.sub(seen, 17)) > received then
  return { "duplicate", string.sub(seen, 1, 16) }
end
local call_key = P .. "c:" .. ARGV[10]
if ARGV[10] ~= "" and (call("HGET", call_key, "v") or "0") ~= ARGV[11] then
  return { "conflict" }
end
if count > 0 and call("ZCARD", P .. "o:" .. account) + count > tonumber(ARGV[13]) then
  return { "full" }
end
if call("EXISTS", P .. "e:" .. event) == 1 then return { "taken" } end
local ids = {}
local function is_taken(id)
  if ids[id] or call("EXISTS", P .. "h:" .. id) == 1 then return true end
  ids[id] = true
end
for at = 15, failures_at - 1, 10 do
  if is_taken(ARGV[at]) then return { "taken" } end
end
for at = failures_at + 1, failures_at + 6 * failures, 6 do
  if is_taken(ARGV[at]) then return { "taken" } end
end

call("SET", seen_key, event .. ARGV[7], "PX", ARGV[8])
local added = #ARGV[9]
call("HSET", P .. "e:" .. event, "b", ARGV[9], "s", ARGV[6], "a", account, "z", #ARGV[9])
call("ZADD", P .. "ie:" .. account, 0, event)
call("ZADD", P .. (ARGV[5] == "1" and "xk" or "xe"), received, event)
if ARGV[10] ~= "" then
  added = added + #ARGV[12] - (tonumber(call("HGET", call_key, "z")) or 0)
  call("HSET", call_key, "v", tonumber(ARGV[11]) + 1, "b", ARGV[12], "z", #ARGV[12])
  call("ZADD", P .. "xc", "GT", received, ARGV[10])
  -- What follows the account in its name; the first event says its age.
  call("ZADD", P .. "il:" .. account, "NX", received, string.sub(ARGV[10], #account + 2))
end

-- The lists in which a delivery is found.
local function list(id, callback, of_call)
  call("ZADD", P .. "i:" .. account, 0, id)
  call("ZADD", P .. "ic:" .. callback, 0, id)
  if of_call ~= "" then call("ZADD", P .. "ik:" .. account .. "\0" .. of_call, 0, id) end
end

for at = 15, failures_at - 1, 10 do
  local id, callback, destination, of_call = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 4]
  local created = ARGV[at + 5]
  local key = P .. "h:" .. id
  call("SET", P .. "r:" .. id, ARGV[at + 8])
  added = added + #ARGV[at + 8]
  local due = now + tonumber(ARGV[at + 7])
  call("HSET", key, "a", account, "c", callback, "d", destination, "e", event, "y", ARGV[at + 3],
    "i", of_call, "m", created, "n", 0, "t", 0, "s", "q", "u", ARGV[at + 6], "w", due,
    "z", #ARGV[at + 8])
  list(id, callback, of_call)
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
for at = failures_at + 1, failures_at + 6 * failures, 6 do
  local id, callback, of_call, created = ARGV[at], ARGV[at + 1], ARGV[at + 3], ARGV[at + 4]
  call("HSET", P .. "h:" .. id, "a", account, "c", callback, "e", event, "y", ARGV[at + 2],
    "i", of_call, "m", created, "t", 0)
  list(id, callback, of_call)
  finish(id, account, event, "f", ARGV[at + 5], created, 0)
end
count_stored(account, added)
return { "stored" }
