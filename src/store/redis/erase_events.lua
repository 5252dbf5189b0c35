-- Removes events of a call that is erased, and at last the call with its jobs; nobody waits for it
-- any more.
--
-- ARGV: 2 account, 3 the call's name, 4 its version, or "" to leave it, 5 why those who wait for it
-- get nothing, then the events.
-- Answers 0 if the call has changed meanwhile: then it stays.
allow_when_full()
local account, name = ARGV[2], ARGV[3]
for at = 6, #ARGV do
  local id = ARGV[at]
  local e = event_of(id)
  if e and e.account == account then forget_event(id, e) end
  -- What is in the list and is not there goes too, so that the list comes to its end.
  remove(P .. "ce:" .. name, id)
end
if ARGV[4] == "" then return 1 end
if call("HGET", P .. "c:" .. name, "v") ~= ARGV[4] then return 0 end
forget_call(account, name)
for _, job in ipairs(call("SMEMBERS", P .. "jc:" .. name)) do forget_job(job) end
local waiting = call("HGETALL", P .. "uw:" .. name)
for at = 1, #waiting, 2 do
  call("HSET", P .. "u:" .. waiting[at], "s" .. waiting[at + 1], "failed", "r" .. waiting[at + 1], ARGV[5])
end
call("DEL", P .. "uw:" .. name)
return 1
