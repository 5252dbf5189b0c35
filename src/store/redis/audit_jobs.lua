-- Looks whether speech jobs are where they should be. Changes nothing.
-- ARGV: from 2 on, jobs. Answers with { job, kind, sentence } for each thing that is wrong.
local told = {}

local function look(id)
  local function tell(kind, sentence)
    told[#told + 1] = { id, kind, sentence }
  end
  local h = call("HMGET", P .. "j:" .. id, "s", "y", "a", "p", "n", "i", "e", "w")
  local source, account, phase, ended = h[1], h[3], h[4], h[7]
  if call("EXISTS", P .. "j:" .. id) == 0 then return end
  if not (source and h[2] and account and phase) then
    tell("state", "it has no state, or a part of it is gone")
    return
  end
  local function has(set)
    return call("ZSCORE", P .. set, id) and true or false
  end
  local is_leased = not ended and h[5] and true or false
  if has("jl") ~= is_leased then
    tell(is_leased and "lost" or "misplaced", "it is leased and among the leases, or it is neither")
  end
  local line = phase == "submitted" and "js:" or "jw:"
  for _, one in ipairs({ "js:", "jw:" }) do
    local expected = not ended and not is_leased and one == line
    if has(one .. source) ~= expected then
      tell(expected and "lost" or "misplaced", "it waits for its turn and is in its line, or it is neither")
    end
  end
  local is_open = call("SISMEMBER", P .. "jo:" .. account, id) == 1
  if is_open == (ended and true or false) then
    tell("disagreement", "it is open and is counted as such, or it is neither")
  end
  local is_at_work = not ended and (phase == "processing" or (phase == "submitted" and is_leased))
  if (call("SISMEMBER", P .. "ja:" .. source, id) == 1) ~= is_at_work then
    tell("disagreement", "it takes room at its provider and is counted so, or it is neither")
  end
  local named = call("GET", P .. "jk:" .. source .. "\0" .. h[2])
  if not ended and named ~= id then tell("unlisted", "its key does not lead to it") end
  if h[6] and not has("jp:" .. source .. "\0" .. h[6]) then
    tell("unlisted", "its provider's id does not lead to it")
  end
  if not has("xj") then tell("unlisted", "it would never be removed") end
end

for at = 2, #ARGV do look(ARGV[at]) end
return told
