-- Writes an attempt and what happens next; nothing, and 0, if the lease is not held.
--
-- ARGV: 2 delivery, 3 token, 4 next (d delivered, x dead, r retry), 5 the attempt's record,
-- 6 when it ended, 7 when the next is due as its process says, 8 the same from now in µs,
-- 9 why it is dead, 10 why its registration is paused ("" if it is not).
allow_when_full()
local id, next_state, ended = ARGV[2], ARGV[4], ARGV[6]
local key = P .. "h:" .. id
local h = call("HMGET", key, "k", "c", "d", "a", "e", "t", "s", "n")
if h[7] ~= "l" or h[1] ~= ARGV[3] then return 0 end
local callback, destination, account, event = h[2], h[3], h[4], h[5]
call("RPUSH", P .. "a:" .. id, ARGV[5])
call("ZREM", P .. "l", id)
local attempts = tonumber(h[8]) + 1
local is_removed = call("HEXISTS", P .. "k:" .. callback, "r") == 1
if next_state == "d" then
  finish(id, account, event, "d", nil, ended, attempts)
elseif next_state == "x" then
  finish(id, account, event, "x", ARGV[9], ended, attempts)
elseif is_removed then
  finish(id, account, event, "c", REMOVED, ended, attempts)
else
  local due = now + tonumber(ARGV[8])
  call("HSET", key, "s", "q", "t", tonumber(h[6]) + 1, "n", attempts, "x", 0, "u", ARGV[7], "w", due)
  call("ZADD", P .. "q:" .. destination, due, id)
end
local d = load(destination)
d.in_flight = d.in_flight - 1
d.proven = next_state == "d"
if ARGV[10] ~= "" and not is_removed and call("EXISTS", P .. "k:" .. callback) == 1 then
  call("HSET", P .. "k:" .. callback, "p", 1, "s", ARGV[10])
  call("HSET", P .. "d:" .. callback, "p", 1, "c", 1)
  call("ZADD", P .. "kp", now, callback)
  changed(callback)
  if destination == callback then
    d.paused = true
  else
    refile(load(callback))
  end
end
refile(d)
wake_for(d)
return 1
