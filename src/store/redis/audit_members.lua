-- Looks whether what a set, sorted or not, names is there, and is of this set. Changes nothing.
--
-- ARGV: 2 the set, 3 what the keys of its members begin with, 4 what says by which part of it such a key is
-- of this set ("" if nothing does), 5 the part's value, then members.
-- Answers with { member, kind } for each that is wrong.
local told = {}
local is_sorted = call("TYPE", P .. ARGV[2]).ok == "zset"
local function is_member(member)
  if is_sorted then return call("ZSCORE", P .. ARGV[2], member) end
  return call("SISMEMBER", P .. ARGV[2], member) == 1
end
for at = 6, #ARGV do
  local member = ARGV[at]
  local key = P .. ARGV[3] .. member
  -- One that has left the set meanwhile is nobody's business.
  if is_member(member) then
    if call("EXISTS", key) == 0 then
      told[#told + 1] = { member, "dangling" }
    elseif ARGV[4] ~= "" and said_of(ARGV[3], member, ARGV[4]) ~= ARGV[5] then
      told[#told + 1] = { member, "misplaced" }
    end
  end
end
return told
