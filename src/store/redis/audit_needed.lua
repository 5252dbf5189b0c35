-- Looks whether what late deliveries are rendered from is needed by one. Changes nothing.
-- ARGV: 2 what its keys begin with, 3 what the sets begin with of those who need it, then names. Answers
-- with those that nobody needs.
local told = {}
for at = 4, #ARGV do
  if call("EXISTS", P .. ARGV[2] .. ARGV[at]) == 1 and call("EXISTS", P .. ARGV[3] .. ARGV[at]) == 0 then
    told[#told + 1] = ARGV[at]
  end
end
return told
