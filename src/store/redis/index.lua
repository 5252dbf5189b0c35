-- Writes what was made of some notes into the index, unless somebody else has written to it since they
-- were read: 1 or 0. What has changed meanwhile stays noted.
--
-- ARGV: 2 account, 3 the generation that was read, 4 how many columns are written, then of each the
-- name, where, and what; how many are wiped, then of each the name, where, and how many bytes; how many
-- go, then their names; how many blocks are new, then of each the number and its first place; how
-- many go, then their numbers; how many tokens have lanes, then these; and then notes: of each what
-- is noted, where, and the version of the call that was read, "" for one that was removed.
allow_when_full()
local account, at = ARGV[2], 4
if (call("HGET", P .. "ng", account) or "0") ~= ARGV[3] then return 0 end
call("HINCRBY", P .. "ng", account, 1)

-- Goes through a part of ARGV.
local function each(width, act)
  local last = at + width * tonumber(ARGV[at])
  for first = at + 1, last, width do act(ARGV[first], ARGV[first + 1], ARGV[first + 2]) end
  at = last + 1
end
each(3, function(column, offset, data) call("SETRANGE", P .. "iv:" .. column, offset, data) end)
each(3, function(column, offset, count)
  -- What is not there need not be wiped.
  local key = P .. "iv:" .. column
  local there = call("STRLEN", key) - tonumber(offset)
  if there > 0 then call("SETRANGE", key, offset, string.rep("\0", math.min(there, tonumber(count)))) end
end)
each(1, function(column) call("UNLINK", P .. "iv:" .. column) end)
each(2, function(block, first) call("ZADD", P .. "ib:" .. account, first, block) end)
each(1, function(block) call("ZREM", P .. "ib:" .. account, block) end)
each(1, function(token) call("SADD", P .. "it:" .. account, token) end)

local notes = P .. "in:" .. account
for first = at, #ARGV, 3 do
  local member, place, version = ARGV[first], ARGV[first + 1], ARGV[first + 2]
  if version == "" then
    call("ZREM", notes, member)
  else
    local now_known = call("HMGET", P .. "c:" .. account .. "\0" .. member, "v", "p")
    if (now_known[1] or "0") == version and (now_known[2] or place) == place then
      call("ZREM", notes, member)
    end
  end
end
local left = call("ZCARD", notes)
if left > 0 then call("ZADD", P .. "nu", left, account) else call("ZREM", P .. "nu", account) end
return 1
