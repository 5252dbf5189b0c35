-- Looks whether what many short sorted sets name is there, and is of its set. Changes nothing.
--
-- ARGV: 2 how many members a set may have to be looked at here, then for each set four: the set, what
-- the keys of its members begin with, by which part such a key is of this set, the part's value.
-- Answers with { which of the sets, member, kind } for each that is wrong; the kind "long", and no
-- member, is that of a set with more members.
local told = {}
for at = 3, #ARGV, 4 do
  local set, which = P .. ARGV[at], (at - 3) / 4
  if call("ZCARD", set) > tonumber(ARGV[2]) then
    told[#told + 1] = { which, "", "long" }
  else
    for _, member in ipairs(call("ZRANGE", set, 0, -1)) do
      local key = P .. ARGV[at + 1] .. member
      if call("EXISTS", key) == 0 then
        told[#told + 1] = { which, member, "dangling" }
      elseif said_of(ARGV[at + 1], member, ARGV[at + 2]) ~= ARGV[at + 3] then
        told[#told + 1] = { which, member, "misplaced" }
      end
    end
  end
end
return told
