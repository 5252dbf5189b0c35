-- Writes what a late delivery sends, or ends it if nothing will ever be sent. Nothing, if the lease is
-- not held.
--
-- ARGV: 2 delivery, 3 token, 4 the request's record ("" if it could not be rendered), 5 why it could not.
-- Answers 1 if it is to be sent now.
allow_when_full()
local id = ARGV[2]
local key = P .. "h:" .. id
local h = call("HMGET", key, "k", "c", "d", "a", "e", "s", "n", "g", "Z", "z")
if h[6] ~= "l" or h[1] ~= ARGV[3] then return 0 end
local callback, destination, account, event = h[2], h[3], h[4], h[5]
local is_for_nobody, is_erased = is_removed(callback), h[9]
if ARGV[4] ~= "" and not is_for_nobody and not is_erased then
  local version = late_version(call("GETRANGE", P .. "r:" .. id, 0, 16))
  -- Unless it was written before, and the answer was lost.
  if version then
    forget_late(id, event, callback, version)
    call("SET", P .. "r:" .. id, ARGV[4])
    count_stored(account, #ARGV[4] - (tonumber(h[10]) or 0))
    call("HSET", key, "z", #ARGV[4])
  end
  return 1
end
call("ZREM", P .. "l", id)
leave(id, destination, h[8], is_for_nobody)
if is_for_nobody then
  finish(id, account, event, "c", REMOVED, now, h[7])
elseif is_erased then
  finish(id, account, event, "c", "its call was erased", now, h[7])
else
  finish(id, account, event, "f", ARGV[5], now, h[7])
end
local d = load(destination)
d.in_flight = d.in_flight - 1
d.proven = false
refile(d)
wake_for(d)
return 0
