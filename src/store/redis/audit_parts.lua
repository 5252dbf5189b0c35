-- Looks whether deliveries of which there are parts are there themselves. Changes nothing.
-- ARGV: 2 what the keys of the parts begin with, then deliveries. Answers with those that are not.
local told = {}
for at = 3, #ARGV do
  if call("EXISTS", P .. ARGV[2] .. ARGV[at]) == 1 and call("EXISTS", P .. "h:" .. ARGV[at]) == 0 then
    told[#told + 1] = ARGV[at]
  end
end
return told
