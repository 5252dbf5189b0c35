-- Writes what a late delivery sends, or ends it if nothing will ever be sent. Nothing, if the lease is
-- not held.
--
-- ARGV: 2 delivery, 3 token, 4 the request's record ("" if it could not be rendered), 5 why it could not.
-- Answers 1 if it is to be sent now.
allow_when_full()
local id = ARGV[2]
local h = delivery_of(id)
if not h or h[STATE] ~= "l" or h[TOKEN] ~= tonumber(ARGV[3]) then return 0 end
local is_for_nobody = is_removed(h[CALLBACK])
if ARGV[4] ~= "" and not is_for_nobody and h[ERASED] == 0 then
  local version = late_version_of(id)
  -- Unless it was written before, and the answer was lost.
  if version then
    forget_late(h, version)
    put(P .. "r:" .. id, ARGV[4])
    count_stored(h[ACCOUNT], #ARGV[4] - h[SIZE])
    h[SIZE] = #ARGV[4]
    write_delivery(h)
  end
  return 1
end
local d = load(h[TARGET])
remove(P .. "l", id)
leave(h, is_for_nobody)
if is_for_nobody then
  finish(h, "c", REMOVED, now)
elseif h[ERASED] == 1 then
  finish(h, "c", "its call was erased", now)
else
  finish(h, "f", ARGV[5], now)
end
d[IN_FLIGHT] = d[IN_FLIGHT] - 1
d[PROVEN] = 0
refile(d)
wake_for(d)
return 0
