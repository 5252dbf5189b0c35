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
for _, id in ipairs(ended) do
  call("ZREM", P .. "l", id)
  local key = P .. "h:" .. id
  local h = call("HMGET", key, "d", "a", "e", "t", "x", "l", "w", "s", "n", "g", "c")
  if h[8] == "l" then
    local crashes = (tonumber(h[5]) or 0) + 1
    call("RPUSH", P .. "a:" .. id, string.format(
      '{"number":%d,"started_at":%s,"latency":0,"outcome":"crashed"}\n', tonumber(h[4]) + 1, h[6]))
    call("HSET", key, "x", crashes)
    if crashes >= poison then
      leave(id, h[1], h[10], h[11] and is_removed(h[11]))
      finish(id, h[2], h[3], "x", "poison", now, h[9])
    else
      -- Suspects wait for each other, so that the one which kills its process does not take the
      -- others with it to the limit.
      local due = h[7]
      if crashes >= suspect then
        due = now + spacing * suspects
        suspects = suspects + 1
      end
      call("HSET", key, "s", "q", "w", due)
      call("ZADD", P .. "q:" .. h[1], due, id)
    end
    local d = load(h[1])
    d.in_flight = d.in_flight - 1
    d.proven = false
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
    local h = call("HMGET", P .. "h:" .. waiting[at], "a", "e", "s", "n", "g")
    leave(waiting[at], destination, h[5], true)
    if h[3] == "q" then finish(waiting[at], h[1], h[2], "c", REMOVED, now, h[4]) end
    cancelled = cancelled + 1
  end
  if cancelled == 0 then call("SREM", P .. "zx", destination) end
end

write_destinations()
local first = tonumber(call("ZRANGE", P .. "w", 0, 0, "WITHSCORES")[2])
if call("EXISTS", P .. "lp", P .. "lt") > 0 or (first and first <= now) then wake() end
return { now, tonumber(call("HGET", P .. "n", "v")) or 0, #ended, cancelled, call("EXISTS", P .. "an"),
  #lost_jobs }
