-- What every process does now and then for all of them: ends leases that ran out, cancels what
-- waited for removed registrations, and wakes somebody if there is work that nobody took.
--
-- ARGV: 2 leases that ran out before this are ended (0: none), 3 at most so many, 4 so many crashes
-- in a row are poison, 5 so many make a suspect, 6 how far apart suspects are made due in µs,
-- 7 at most so many are cancelled.
-- Answers { now, the registrations' revision, ended, cancelled, whether there is something to announce,
-- leases of jobs that were ended }.
allow_when_full()
local before, poison, suspect, spacing = tonumber(ARGV[2]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
if before > now then before = now end
local suspects = 0
local ended = call("ZRANGEBYSCORE", P .. "l", "-inf", before, "LIMIT", 0, ARGV[3])
fetch_deliveries(ended)
for _, id in ipairs(ended) do
  local h = delivery_of(id)
  local d = h and load(h[TARGET])
  remove(P .. "l", id)
  if h and h[STATE] == "l" then
    write_delivery(h)
    record_attempt(h, string.format(
      '{"number":%d,"started_at":%d,"latency":0,"outcome":"crashed"}\n', h[TRIES] + 1, h[LEASED_AT]))
    h[CRASHES] = h[CRASHES] + 1
    if h[CRASHES] >= poison then
      leave(h, is_removed(h[CALLBACK]))
      finish(h, "x", "poison", now)
    else
      -- Suspects wait for each other, so that the one which kills its process does not take the
      -- others with it to the limit.
      if h[CRASHES] >= suspect then
        h[DUE] = now + spacing * suspects
        suspects = suspects + 1
      end
      h[STATE] = "q"
      enqueue(d, id, h[DUE])
    end
    d[IN_FLIGHT] = d[IN_FLIGHT] - 1
    d[PROVEN] = 0
    refile(d)
  end
end

local lost_jobs = call("ZRANGEBYSCORE", P .. "jl", "-inf", before, "LIMIT", 0, ARGV[3])
for _, id in ipairs(lost_jobs) do
  local h = call("HMGET", P .. "j:" .. id, "s", "p", "w", "n")
  if h[4] then wait(id, h[1], h[2], tonumber(h[3])) else call("ZREM", P .. "jl", id) end
end

local cancelled = 0
local destination = call("SRANDMEMBER", P .. "zx")
if destination then
  local waiting = call("ZPOPMIN", P .. "qx:" .. destination, ARGV[7])
  for at = 1, #waiting, 2 do
    local h = delivery_of(waiting[at])
    if h then leave(h, true) end
    if h and h[STATE] == "q" then finish(h, "c", REMOVED, now) end
    cancelled = cancelled + 1
  end
  if cancelled == 0 then call("SREM", P .. "zx", destination) end
end

write_destinations()
local first = tonumber(call("ZRANGE", P .. "w", 0, 0, "WITHSCORES")[2])
if call("EXISTS", P .. "lp", P .. "lt") > 0 or (first and first <= now) then wake() end
return { now, tonumber(call("HGET", P .. "n", "v")) or 0, #ended, cancelled, call("EXISTS", P .. "an"),
  #lost_jobs }
