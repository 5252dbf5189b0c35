-- Removes events of a call that is erased, and at last the call.
--
-- ARGV: 2 account, 3 the call's name, 4 its version, or "" to leave it, then the events.
-- Answers 0 if the call has changed meanwhile: then it stays.
allow_when_full()
local account, name = ARGV[2], ARGV[3]
for at = 5, #ARGV do
  local id = ARGV[at]
  if call("HGET", P .. "e:" .. id, "a") == account then
    call("ZREM", P .. "ie:" .. account, id)
    call("ZREM", P .. "xe", id)
    call("ZREM", P .. "xk", id)
    call("UNLINK", P .. "e:" .. id)
  end
end
if ARGV[4] == "" then return 1 end
if call("HGET", P .. "c:" .. name, "v") ~= ARGV[4] then return 0 end
-- Speech requests that wait for it.
local waiting = call("HGETALL", P .. "uw:" .. name)
for at = 1, #waiting, 2 do
  local place = waiting[at + 1]
  call("HSET", P .. "u:" .. waiting[at], "s" .. place, "failed", "r" .. place, "its call was erased")
end
call("DEL", P .. "uw:" .. name)
call("ZREM", P .. "xc", name)
call("ZREM", P .. "il:" .. account, string.sub(name, #account + 2))
call("UNLINK", P .. "c:" .. name)
return 1
