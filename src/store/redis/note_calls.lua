-- Notes calls of a format before 4 for the index, from the oldest on. Calls that were first heard of at
-- the same time had one place: the later by name move on, so that each has one of its own.
--
-- ARGV: 2 account, 3 behind this place, 4 so many, or a few more.
-- Answers with the place up to which all are noted; nothing if those are all.
allow_when_full()
local account = ARGV[2]
local list = P .. "il:" .. account
if call("HEXISTS", P .. "np", account) == 1 then return false end
local old = call("ZRANGEBYSCORE", list, "(" .. ARGV[3], "+inf", "WITHSCORES", "LIMIT", 0, ARGV[4])
local last = old[#old]
if not last then
  -- From now on its places are counted, and searches trust the index.
  local newest = call("ZREVRANGE", list, 0, 0, "WITHSCORES")[2]
  if newest then call("HSET", P .. "np", account, newest) end
  return false
end
local taken, seen = tonumber(ARGV[3]), {}
local function take(rest, first_heard)
  if seen[rest] then return end
  seen[rest] = true
  local key, place = P .. "c:" .. account .. "\0" .. rest, tonumber(first_heard)
  if call("EXISTS", key) == 0 then
    call("ZREM", list, rest)
    return
  end
  if place <= taken then
    place = taken + 1
    call("ZADD", list, place, rest)
  end
  taken = place
  call("HSET", key, "p", place)
  note(account, place, rest)
end
for at = 1, #old, 2 do take(old[at], old[at + 1]) end
for _, rest in ipairs(call("ZRANGEBYSCORE", list, last, last)) do take(rest, last) end
return last
