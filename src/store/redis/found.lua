-- Reads the calls at some places of an account's list, as many as fit into so many bytes, at least one.
--
-- ARGV: 2 account, 3 the most bytes, then places. Answers for each with its name, its version, its context
-- and when its first event came in; with nothing for a place that no call has.
local found, left = {}, tonumber(ARGV[3])
for at = 4, #ARGV do
  local rest = call("ZRANGEBYSCORE", P .. "il:" .. ARGV[2], ARGV[at], ARGV[at])[1]
  local key = P .. "c:" .. ARGV[2] .. "\0" .. (rest or "")
  if rest then
    left = left - call("HSTRLEN", key, "b")
    if left < 0 and at > 4 then break end
  end
  local h = rest and call("HMGET", key, "v", "b", "m")
  found[#found + 1] = h and h[1] and { rest, h[1], h[2], h[3] or ARGV[at] } or {}
end
return found
