-- Stands before the scripts that write or remove calls: a call's place in the list of its account, and
-- what is noted for the index (search/mod.rs) and for an erasure.

-- How much a removal counts for among the notes of an account: what is left of it in the index is to
-- go soon.
local REMOVAL = 1000

-- Notes that the index does not know a call as it is now; or, with its place in place of its name,
-- that a call was removed.
local function note(account, member, place, weight)
  if call("ZADD", P .. "in:" .. account, place, member) == 1 then
    call("ZINCRBY", P .. "nu", weight, account)
  end
end

-- The place of a call that is new: when it was first heard of, but behind every other, whatever the
-- clocks of those who write. None is given twice, even when its call is gone.
local function next_place(account, received)
  local last = call("HGET", P .. "np", account)
  local is_known = last and true
  if not last then
    -- Calls of a format before that are not noted yet; until they are, the account is not named.
    last = call("ZREVRANGE", P .. "il:" .. account, 0, 0, "WITHSCORES")[2]
    is_known = not last
  end
  local place = math.max(received, (tonumber(last) or 0) + 1)
  if is_known then call("HSET", P .. "np", account, place) end
  return place
end

-- Writes a call, of which `known` are its version, the bytes that it is counted for and its place.
local function write_call(account, name, known, context, received)
  local key, rest, place = P .. "c:" .. name, string.sub(name, #account + 2), known[3]
  count_stored(account, #context - (tonumber(known[2]) or 0))
  if known[1] and not place then place = call("ZSCORE", P .. "il:" .. account, rest) end
  if place then
    call("HSET", key, "v", known[1] + 1, "b", context, "z", #context)
  else
    place = next_place(account, received)
    call("HSET", key, "v", (known[1] or 0) + 1, "b", context, "z", #context, "p", place, "m", received)
    call("ZADD", P .. "il:" .. account, place, rest)
  end
  call("ZADD", P .. "xc", "GT", received, name)
  note(account, rest, place, 1)
end

-- Removes a call, but not what is to be erased with it.
local function forget_call(account, name)
  local key, rest = P .. "c:" .. name, string.sub(name, #account + 2)
  local known = call("HMGET", key, "z", "p")
  call("ZREM", P .. "xc", name)
  call("ZREM", P .. "il:" .. account, rest)
  call("ZREM", P .. "in:" .. account, rest)
  -- Of one that has no place of its own yet the index knows nothing.
  if known[2] then note(account, known[2], known[2], REMOVAL) end
  count_stored(account, -(tonumber(known[1]) or 0))
  call("UNLINK", key)
end
