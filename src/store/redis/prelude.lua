-- Stands before every script: the clock, what is read and written together, and what all of them say.
-- Behind it stand destination.lua, lease.lua and delivery.lua. What each key holds is told in keys.md.
--
-- KEYS[1] is the prefix of all keys; its hash tag puts them into one slot of a Cluster.
-- ARGV[1] is the time in µs, or nothing for Redis' own clock. Only tests give a time.
local P = KEYS[1]
local call = redis.call
local now = tonumber(ARGV[1])
if not now then
  local time = call("TIME")
  now = time[1] * 1000000 + time[2]
end

-- The answer of a script that has failed; its first word says how. (Redis 6.2 tells of the place in front.)
local function refusal_of(failure)
  local words = type(failure) == "table" and failure.err or tostring(failure)
  words = string.gsub(words, "^@user_script: ?%d+: %-?", "")
  return { err = string.find(words, "^%u+ ") and words or "ERR " .. words }
end

-- One command for as many as a list has, or few: `unpack` knows no more than some thousands.
local function in_parts(list, act)
  for first = 1, #list, 1000 do act(unpack(list, first, math.min(first + 999, #list))) end
end

-- What a script writes at its end, since nothing reads it before: a command costs more than what it
-- writes. Strings; members of sorted sets, as score and member in turn; members that leave them; bytes
-- that are counted; and whatever else knows what it owes. shard.rs puts main.lua around every script,
-- which sees to it.
local written, added, removed, counted, owed = {}, {}, {}, {}, {}

-- The strings that this script has read or writes: false for one that is not there.
local strings = {}

-- Reads the strings of these keys at once, for those who get them afterwards.
local function fetch(keys)
  local unread = {}
  for _, key in ipairs(keys) do
    if strings[key] == nil then
      strings[key] = false
      unread[#unread + 1] = key
    end
  end
  local at = 0
  in_parts(unread, function(...)
    for _, value in ipairs(call("MGET", ...)) do
      at = at + 1
      strings[unread[at]] = value
    end
  end)
end

-- The string of a key; false if there is none.
local function get(key)
  local value = strings[key]
  if value == nil then
    value = call("GET", key)
    strings[key] = value
  end
  return value
end

-- Writes a string, at the end.
local function put(key, value)
  strings[key], written[key] = value, value
end

-- Removes a string at once.
local function drop(key)
  strings[key], written[key] = false, nil
  call("UNLINK", key)
end

-- A Redis without memory refuses this one, unless the script has written before: then nothing else
-- is written either.
local function write_strings()
  local list = {}
  for key, value in pairs(written) do
    list[#list + 1] = key
    list[#list + 1] = value
  end
  in_parts(list, function(...) call("MSET", ...) end)
  written = {}
end

-- Puts a member into a sorted set, at the end.
local function add(key, score, member)
  local list = added[key]
  if not list then
    list = {}
    added[key] = list
  end
  list[#list + 1] = score
  list[#list + 1] = member
end

-- Takes a member out of a sorted set, at the end, and after everything that is put into one.
local function remove(key, member)
  local list = removed[key]
  if list then list[#list + 1] = member else removed[key] = { member } end
end

-- What is wrong with one key keeps no other from being written: it fails the script afterwards.
local unwritten
local function try(...)
  local answer = redis.pcall(...)
  if type(answer) == "table" and answer.err then unwritten = unwritten or answer end
end

local function write_members()
  for key, list in pairs(added) do in_parts(list, function(...) try("ZADD", key, ...) end) end
  for key, list in pairs(removed) do in_parts(list, function(...) try("ZREM", key, ...) end) end
  added, removed = {}, {}
end

-- A full Redis must drain: a script that has written once may go on writing, and a DEL is always
-- allowed. (`#!lua flags=allow-oom` says the same, but Redis 6.2 cannot read it.)
local function allow_when_full()
  call("DEL", P .. "none")
end

-- A whole number as Redis keeps it. (One that a command is given costs much more to spell.)
local function text(number)
  return string.format("%d", number)
end

-- Counts bytes that are stored for an account, or not any more. Each record says by itself how
-- much it was counted for: those of an older version were not, and are not taken off.
local function count_stored(account, bytes)
  counted[account] = (counted[account] or 0) + bytes
end

-- Whether one of these keys is there already. The ids in them are made anew for everything that is
-- written, so that two of one script are the same only by mistake.
local names, absent = {}, {}
local function count_there(keys)
  local there = 0
  in_parts(keys, function(...) there = there + call("EXISTS", ...) end)
  return there
end
local function is_taken(keys)
  local unknown = {}
  for _, key in ipairs(keys) do
    if names[key] then return true end
    names[key] = true
    if not absent[key] then unknown[#unknown + 1] = key end
  end
  return unknown[1] ~= nil and count_there(unknown) > 0
end

-- Looks for many keys at once; most often none is there.
local function look_for(keys)
  if count_there(keys) > 0 then return end
  for _, key in ipairs(keys) do absent[key] = true end
end

-- Wakes one of the processes that wait for work, at the end.
local is_work, waits = false, {}
local function wake() is_work = true end

-- Notes that a registration was changed, under a number that never comes again, even if Redis
-- loses its last second.
local function changed(callback)
  local revision = (tonumber(call("HGET", P .. "n", "v")) or 0) + 1
  if revision < now then revision = now end
  call("HSET", P .. "n", "v", revision)
  call("ZADD", P .. "kr", revision, callback)
end
