-- Leases up to so many due deliveries: one at a time to the destination that was served least
-- recently, as far as its limits and the slots allow (scheduler/mod.rs says the same in Rust).
--
-- ARGV: 2 slots, 3 how many of them for destinations on trial, 4 how long a lease lasts in µs,
-- 5 after how many bytes of requests no further one is taken.
-- Answers { claims, when to come again (0: only when something changes), what was unreadable }.
allow_when_full()
local slots, trials, lease, room = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])

-- Bytes in their own order: `<` would ask the server's locale.
local function less(one, other)
  for at = 1, #one do
    local a, b = string.byte(one, at), string.byte(other, at)
    if a ~= b then return a < b end
  end
  return false
end

local counters = call("HMGET", P .. "n", "k", "t")
local token = tonumber(counters[1]) or 0
if (tonumber(counters[2]) or 0) - now > 1000000 then
  -- The clock was set back: what waits for a rate would wait too long.
  for _, id in ipairs(call("ZREVRANGE", P .. "w", 0, 9999)) do refile(load(id)) end
end
for _, id in ipairs(call("ZRANGEBYSCORE", P .. "w", "-inf", now, "LIMIT", 0, 1000)) do
  refile(load(id))
end

local function head(line)
  local first = call("ZRANGE", P .. line, 0, 0, "WITHSCORES")
  return first[1], tonumber(first[2])
end

local claims, unreadable, bytes = {}, {}, 0
while #claims < slots and bytes < room do
  local id, served = head("lp")
  if trials > 0 then
    local other, other_served = head("lt")
    if other and (not id or other_served < served or (other_served == served and less(other, id))) then
      id = other
    end
  end
  if not id then break end
  local d = load(id)
  local delivery = call("ZPOPMIN", P .. "q:" .. id)[1]
  local key = P .. "h:" .. delivery
  local h = call("HMGET", key, "c", "t", "a", "e", "s")
  local request = call("GET", P .. "r:" .. delivery)
  local on_trial = not d.proven
  token = token + 1
  -- Tokens never come again, even if Redis loses its last second.
  if token < now then token = now end
  d.served = token
  if d.interval then
    local even = d.even or now
    if even < now then even = now end
    d.even = even + d.interval
  end
  -- Whole, or nothing is done with it: an error here would lose it.
  local is_whole = h[5] == "q" and request and h[1] and tonumber(h[2]) and h[3] and h[4]
  if is_whole and call("HEXISTS", P .. "k:" .. h[1], "r") == 0 then
    call("HSET", key, "s", "l", "k", token, "l", now)
    call("ZADD", P .. "l", now + lease, delivery)
    d.in_flight = d.in_flight + 1
    if on_trial then trials = trials - 1 end
    bytes = bytes + #request
    claims[#claims + 1] = { delivery, token, h[1], tonumber(h[2]) + 1, on_trial and 1 or 0, request }
  else
    -- Its registration was removed, or a part of it is gone: set aside, and the rest goes on.
    d.proven = false
    if is_whole then
      finish(delivery, h[3], h[4], "c", REMOVED, now)
    else
      unreadable[#unreadable + 1] = delivery
      if h[3] then finish(delivery, h[3], h[4] or "", "x", "its stored request cannot be read", now) end
    end
  end
  refile(d)
end
call("HSET", P .. "n", "k", token, "t", now)

local proven, trial = call("EXISTS", P .. "lp") == 1, call("EXISTS", P .. "lt") == 1
local at = tonumber(call("ZRANGE", P .. "w", 0, 0, "WITHSCORES")[2]) or 0
if proven or (trial and trials > 0) then at = now end
-- What is left over is for another process, if there is one that waits.
if #claims > 0 and (proven or trial) then wake() end
return { claims, at, unreadable }
