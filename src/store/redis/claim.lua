-- Leases up to so many due deliveries: one at a time to the destination that was served least
-- recently, as far as its limits and the slots allow (scheduler/mod.rs says the same in Rust).
--
-- ARGV: 2 slots, 3 how many of them for destinations on trial, 4 how long a lease lasts in µs
-- where the registration says nothing,
-- 5 after how many bytes of requests no further one is taken, 6 the longest time between two probes.
-- Answers { claims, when to come again (0: only when something changes), what was unreadable }.
allow_when_full()
local slots, trials, lease, room = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local longest_probe = tonumber(ARGV[6])
local now_text = text(now)

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
  -- The clock was set back: what waits for a rate or for a probe would wait too long.
  for _, id in ipairs(call("ZREVRANGE", P .. "w", 0, 9999)) do
    local d = load(id)
    if d.probe_at and d.probe_at > now + longest_probe then
      d.probe_at = now + longest_probe
      call("HSET", P .. "d:" .. id, "N", d.probe_at)
    end
    refile(d)
  end
  write_destinations()
end
for _, id in ipairs(call("ZRANGEBYSCORE", P .. "w", "-inf", now, "LIMIT", 0, 1000)) do
  refile(load(id))
end

-- The next in line, of both lines: those that were served least recently first. Whoever is served
-- goes behind all of them, so that the lines are read again only when this many were served.
local function next_in_line(count)
  write_destinations()
  local proven = call("ZRANGE", P .. "lp", 0, count - 1, "WITHSCORES")
  local trial = trials > 0 and call("ZRANGE", P .. "lt", 0, count - 1, "WITHSCORES") or {}
  local line, p, t = {}, 1, 1
  while #line < count and (proven[p] or trial[t]) do
    local takes_trial = not proven[p]
    if proven[p] and trial[t] then
      local one, other = tonumber(proven[p + 1]), tonumber(trial[t + 1])
      takes_trial = other < one or (other == one and less(trial[t], proven[p]))
    end
    if takes_trial then
      line[#line + 1] = { trial[t], true }
      t = t + 2
    else
      line[#line + 1] = { proven[p], false }
      p = p + 2
    end
  end
  return line
end

local claims, unreadable, bytes = {}, {}, 0
local line, place = {}, 0
while #claims < slots and bytes < room do
  place = place + 1
  if not line[place] then
    line, place = next_in_line(slots - #claims), 1
    if not line[1] then break end
  end
  -- Nobody on trial any more, once their share is given out.
  local id = (trials > 0 or not line[place][2]) and line[place][1]
  if id then
    local d = load(id)
    local delivery = call("ZPOPMIN", P .. "q:" .. id)[1]
    local key = P .. "h:" .. delivery
    local h = call("HMGET", key, "c", "t", "a", "e", "s", "n", "g")
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
    if is_whole and not is_removed(h[1]) then
      call("HSET", key, "s", "l", "k", text(token), "l", now_text)
      add(P .. "l", now + (d.lease or lease), delivery)
      d.in_flight = d.in_flight + 1
      if on_trial then trials = trials - 1 end
      bytes = bytes + #request
      claims[#claims + 1] = { delivery, token, h[1], tonumber(h[2]) + 1, on_trial and 1 or 0, request }
    else
      -- Its registration was removed, or a part of it is gone: set aside, and the rest goes on.
      d.proven = false
      leave(delivery, id, h[7], is_whole)
      if is_whole then
        finish(delivery, h[3], h[4], "c", REMOVED, now, h[6])
      else
        unreadable[#unreadable + 1] = delivery
        if h[3] then finish(delivery, h[3], h[4] or "", "x", "its stored request cannot be read", now, h[6] or 0) end
      end
    end
    refile(d)
  end
end
call("HSET", P .. "n", "k", text(token), "t", now_text)

write_destinations()
local proven, trial = call("EXISTS", P .. "lp") == 1, call("EXISTS", P .. "lt") == 1
local at = tonumber(call("ZRANGE", P .. "w", 0, 0, "WITHSCORES")[2]) or 0
if proven or (trial and trials > 0) then at = now end
-- What is left over is for another process, if there is one that waits.
if #claims > 0 and (proven or trial) then wake() end
return { claims, at, unreadable }
