-- Removes a registration; 0 if this account has none such. What waits for it is cancelled
-- afterwards, bit by bit; a stone stays, under which nothing grows.
-- ARGV: 2 registration, 3 account.
allow_when_full()
local id = ARGV[2]
local key = P .. "k:" .. id
local old = call("HMGET", key, "a", "r")
if old[1] ~= ARGV[3] or old[2] then return 0 end
call("HDEL", key, "b", "s")
call("HSET", key, "r", now)
call("ZREM", P .. "kp", id)
if call("EXISTS", P .. "q:" .. id) == 1 then
  call("RENAME", P .. "q:" .. id, P .. "qx:" .. id)
  call("SADD", P .. "zx", id)
end
local d = load(id)
forget_circuit(d)
d[CONFIGURED], d[PAUSED], d[SLOTS], d[LEASE] = 0, 0, UNCONFIGURED, 0
d[RATE], d[EVEN], d[INTERVAL], d[TOLERANCE], d.first = "", 0, 0, 0, nil
refile(d)
changed(id)
-- What is kept of a speech request beside this; nothing if it is none.
local fields = call("HGETALL", P .. "u:" .. id)
local request = {}
for at = 1, #fields, 2 do request[fields[at]] = fields[at + 1] end
local place = 1
while request["k" .. place] do
  call("HDEL", P .. "uw:" .. ARGV[3] .. "\0" .. request["k" .. place], id)
  place = place + 1
end
call("UNLINK", P .. "u:" .. id)
return 1
