-- Looks whether events and calls are found, and removed when their time is over. Changes nothing.
-- ARGV: 2 "e" for events or "c" for calls, then their names. Answers with { name, kind, sentence } for
-- each that is wrong.
local told = {}
local function has(set, member)
  return call("ZSCORE", P .. set, member) and true or false
end
for at = 3, #ARGV do
  local name = ARGV[at]
  local key = P .. ARGV[2] .. ":" .. name
  if call("EXISTS", key) == 1 then
    if ARGV[2] == "e" then
      local account = call("HGET", key, "a")
      -- Those of a format before had none, and are in no list.
      if account and not has("ie:" .. account, name) then
        told[#told + 1] = { name, "unlisted", "it is not in the list of its account" }
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
      if not has("il:" .. account, rest) then
        told[#told + 1] = { name, "unlisted", "it is not in the list of its account" }
      end
    end
  end
end
return told
