-- Writes an event, its call's context and its deliveries, or nothing. Everything is checked before
-- the first write, because an error in mid-script takes nothing back. The first write is a SET,
-- which a Redis without memory refuses, and with it the whole script.
--
-- ARGV: 2 account, 3 event, 4 received at, 5 "1" to keep it as long as what failed, 6 dedupe key,
-- 7 until when it counts, 8 the same from now in ms, 9 the event's record, 10 call ("" for none),
-- 11 the version that was read, 12 context, 13 the most that may be open, 14 the job that ends with
-- it ("" for none), 15 the token of its lease, 16 "c" if it was completed, else "f" and why it failed,
-- 17 how many deliveries, then 10 for each, then how many that failed, then 6 for each.
local DELIVERIES = 18
local account, event, received = ARGV[2], ARGV[3], tonumber(ARGV[4])
local job = ARGV[14] ~= "" and ARGV[14]
local count = tonumber(ARGV[DELIVERIES - 1])
local failures_at = DELIVERIES + 10 * count
local failures = tonumber(ARGV[failures_at])

if job and call("HGET", P .. "j:" .. job, "n") ~= ARGV[15] then return { "lost" } end
local function end_its_job()
  if job then end_job(job, string.sub(ARGV[16], 1, 1) == "f" and string.sub(ARGV[16], 2), received) end
end

local seen_key = P .. "s:" .. ARGV[6]
local seen = call("GET", seen_key)
if seen and tonumber(string.sub(seen, 17)) > received then
  end_its_job()
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
for at = DELIVERIES, failures_at - 1, 10 do
  if is_taken(ARGV[at]) then return { "taken" } end
end
for at = failures_at + 1, failures_at + 6 * failures, 6 do
  if is_taken(ARGV[at]) then return { "taken" } end
end

call("SET", seen_key, event .. ARGV[7], "PX", ARGV[8])
call("HSET", P .. "e:" .. event, "b", ARGV[9], "s", ARGV[6], "a", account)
call("ZADD", P .. "ie:" .. account, 0, event)
call("ZADD", P .. (ARGV[5] == "1" and "xk" or "xe"), received, event)
if ARGV[10] ~= "" then
  call("HSET", call_key, "v", tonumber(ARGV[11]) + 1, "b", ARGV[12])
  call("ZADD", P .. "xc", "GT", received, ARGV[10])
  -- What follows the account in its name; the first event says its age.
  call("ZADD", P .. "il:" .. account, "NX", received, string.sub(ARGV[10], #account + 2))
end

for at = DELIVERIES, failures_at - 1, 10 do put_delivery(account, event, at) end
for at = failures_at + 1, failures_at + 6 * failures, 6 do
  local id, callback, of_call, created = ARGV[at], ARGV[at + 1], ARGV[at + 3], ARGV[at + 4]
  call("HSET", P .. "h:" .. id, "a", account, "c", callback, "e", event, "y", ARGV[at + 2],
    "i", of_call, "m", created, "t", 0)
  list(account, id, callback, of_call)
  finish(id, account, event, "f", ARGV[at + 5], created, 0)
end
end_its_job()
return { "stored" }
