-- Looks whether seats of the index of calls are those of calls that there are, and whether notes are
-- found by who takes them up. Changes nothing.
--
-- ARGV: 2 account, 3 the name of a column of calls, "" for none, then of seats what stands in them: the
-- number from 0 on, the place, and the same as it is spelt in the column.
-- Answers with { what, kind, sentence } for each thing that is wrong.
local account, told = ARGV[2], {}
if ARGV[3] == "" then
  if call("EXISTS", P .. "in:" .. account) == 1 and not call("ZSCORE", P .. "nu", account) then
    told[1] = { account, "stranded", "calls are noted for the index, and nobody would take them up" }
  end
end
for at = 4, #ARGV, 3 do
  local seat, place = tonumber(ARGV[at]), ARGV[at + 1]
  -- One whose call was removed meanwhile is noted, or wiped already.
  if call("GETRANGE", P .. "iv:" .. ARGV[3], 8 * seat, 8 * seat + 7) == ARGV[at + 2] and
    call("ZCOUNT", P .. "il:" .. account, place, place) == 0 and
    not call("ZSCORE", P .. "in:" .. account, place) then
    told[#told + 1] = { place, "dangling", "the index has a seat for it, and there is no such call" }
  end
end
return told
