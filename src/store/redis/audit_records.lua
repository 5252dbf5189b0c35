-- Looks whether events and calls are found, and removed when their time is over. Changes nothing.
-- ARGV: 2 "e" for events or "c" for calls, then their names. Answers with { name, kind, sentence } for
-- each that is wrong.
local told = {}
local function has(set, member)
  return call("ZSCORE", P .. set, member) and true or false
end

-- Whether the index has a seat for the call at a place.
local function is_seated(account, place)
  local block = call("ZREVRANGEBYSCORE", P .. "ib:" .. account, place, "-inf", "LIMIT", 0, 1)[1]
  if not block then return false end
  local column = P .. "iv:" .. account .. "\0\0" .. block .. "c"
  local wanted, low, high = struct.pack(">I8", place), 0, call("STRLEN", column) / 8
  while low < high do
    local middle = math.floor((low + high) / 2)
    local there = call("GETRANGE", column, 8 * middle, 8 * middle + 7)
    if there == wanted then return true end
    local first = string.byte(there)
    -- One whose call is gone keeps its place, with a bit in front.
    if first >= 128 then there = string.char(first - 128) .. string.sub(there, 2) end
    if there == wanted then return false end
    if there < wanted then low = middle + 1 else high = middle end
  end
  return false
end
for at = 3, #ARGV do
  local name = ARGV[at]
  local key = P .. ARGV[2] .. ":" .. name
  if call("EXISTS", key) == 1 then
    if ARGV[2] == "e" then
      local e = event_of(name)
      -- Those of a format before 3 had no account, and are in no list.
      if e and e.account ~= "" and not has("ie:" .. e.account, name) then
        told[#told + 1] = { name, "unlisted", "it is not in the list of its account" }
      end
      if e and e.call ~= "" and not has("ce:" .. e.call, name) then
        told[#told + 1] = { name, "unlisted", "it is not in the list of its call: an erasure would leave it" }
      end
      local soon, late = has("xe", name), has("xk", name)
      if not (soon or late) then
        told[#told + 1] = { name, "unlisted", "it would never be removed" }
      elseif soon and late then
        told[#told + 1] = { name, "misplaced", "it would be removed twice" }
      end
    else
      local account_ends = string.find(name, "\0", 1, true) or 1
      local account, rest = string.sub(name, 1, account_ends - 1), string.sub(name, account_ends + 1)
      if not has("xc", name) then told[#told + 1] = { name, "unlisted", "it would never be removed" } end
      local listed = call("ZSCORE", P .. "il:" .. account, rest)
      if not listed then
        told[#told + 1] = { name, "unlisted", "it is not in the list of its account" }
      -- Those of a format before 4 are noted bit by bit.
      elseif call("HEXISTS", P .. "np", account) == 1 then
        if call("HGET", key, "p") ~= listed then
          told[#told + 1] = { name, "disagreement", "its place is kept twice, and differs" }
        elseif not has("in:" .. account, rest) and not is_seated(account, listed) then
          told[#told + 1] = { name, "unlisted", "it is neither in the index nor noted for it: searches miss it" }
        end
      end
    end
  end
end
return told
