-- Stands before the scripts that write or remove calls: a call's place in the list of its account, and
-- what is noted for the index (search/mod.rs) and for an erasure.

-- How much a removal counts for among the notes of an account: what is left of it in the index is to
-- go soon.
local REMOVAL = 1000

-- The last place that an account gave, and whether the account is named.
local places = {}
local function places_of(account)
  if not places[account] then
    local last = call("HGET", P .. "np", account)
    local is_named = last and true
    if not last then
      -- Calls of a format before that are not noted yet; until they are, the account is not named.
      last = call("ZREVRANGE", P .. "il:" .. account, 0, 0, "WITHSCORES")[2]
      is_named = not last
    end
    places[account] = { last = tonumber(last) or 0, is_named = is_named }
  end
  return places[account]
end

-- The place of a call that is new: when it was first heard of, but behind every other, whatever the
-- clocks of those who write. None is given twice, even when its call is gone.
local function next_place(account, received)
  local given = places_of(account)
  given.last, given.is_changed = math.max(received, given.last + 1), true
  return text(given.last)
end

-- What this script writes of calls, for the end: when they were heard of last, and what is noted.
local heard, noted = {}, {}
owed[#owed + 1] = function()
  for account, given in pairs(places) do
    if given.is_named and given.is_changed then call("HSET", P .. "np", account, text(given.last)) end
  end
  in_parts(heard, function(...) call("ZADD", P .. "xc", "GT", ...) end)
  for account, list in pairs(noted) do
    local news = 0
    in_parts(list, function(...) news = news + call("ZADD", P .. "in:" .. account, ...) end)
    if news > 0 then call("ZINCRBY", P .. "nu", news, account) end
  end
end

-- Notes, at the end, that the index does not know a call as it is now.
local function note(account, place, rest)
  local list = noted[account] or {}
  noted[account] = list
  list[#list + 1] = place
  list[#list + 1] = rest
end

-- Notes that a call was removed: with its place in place of its name.
local function note_removal(account, place)
  if call("ZADD", P .. "in:" .. account, place, place) == 1 then
    call("ZINCRBY", P .. "nu", REMOVAL, account)
  end
end

-- The last version that a call of an account had which was removed.
local removed_versions = {}
local function last_removed_version(account)
  if not removed_versions[account] then
    removed_versions[account] = tonumber(call("HGET", P .. "nv", account)) or 0
  end
  return removed_versions[account]
end

-- Writes a call, of which `known` are its version, the bytes that it is counted for and its place.
local function write_call(account, name, known, context, received)
  local key, rest, place = P .. "c:" .. name, string.sub(name, #account + 2), known[3]
  count_stored(account, #context - (tonumber(known[2]) or 0))
  if known[1] and not place then place = call("ZSCORE", P .. "il:" .. account, rest) end
  if place then
    call("HSET", key, "v", text(known[1] + 1), "b", context, "z", #context)
  else
    place = next_place(account, received)
    -- Behind every version of a call that was removed: whoever has read that one writes over no other.
    local before = known[1] or last_removed_version(account)
    call("HSET", key, "v", text(before + 1), "b", context, "z", #context, "p", place, "m", text(received))
    add(P .. "il:" .. account, place, rest)
  end
  heard[#heard + 1] = text(received)
  heard[#heard + 1] = name
  note(account, place, rest)
end

-- Removes a call, but not what is to be erased with it.
local function forget_call(account, name)
  local key, rest = P .. "c:" .. name, string.sub(name, #account + 2)
  local known = call("HMGET", key, "z", "p", "v")
  removed_versions[account] = math.max(last_removed_version(account), tonumber(known[3]) or 0)
  call("HSET", P .. "nv", account, text(removed_versions[account]))
  call("ZREM", P .. "xc", name)
  call("ZREM", P .. "il:" .. account, rest)
  call("ZREM", P .. "in:" .. account, rest)
  -- Of one that has no place of its own yet the index knows nothing.
  if known[2] then note_removal(account, known[2]) end
  count_stored(account, -(tonumber(known[1]) or 0))
  call("UNLINK", key)
end
