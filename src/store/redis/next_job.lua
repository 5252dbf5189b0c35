-- How long it is until a job of these sources can be claimed, in µs; -1 if there is none that waits
-- for its time. Submissions without room wait for another job's end.
-- ARGV: from 2 on, each source and how many jobs may be at work at its provider.
local earliest = nil
local function look(line)
  local first = tonumber(call("ZRANGE", line, 0, 0, "WITHSCORES")[2])
  if first and (not earliest or first < earliest) then earliest = first end
end
for at = 2, #ARGV, 2 do
  look(line_of("processing", ARGV[at]))
  if call("SCARD", P .. "ja:" .. ARGV[at]) < tonumber(ARGV[at + 1]) then look(line_of("submitted", ARGV[at])) end
end
if not earliest then return -1 end
return math.max(earliest - now, 0)
