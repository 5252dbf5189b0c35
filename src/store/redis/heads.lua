-- Reads the records of events without their bodies, as many as fit into so many bytes of records,
-- at least one.
--
-- ARGV: 2 the most bytes, then the events. Answers with a head for each, "" for one that is gone.
local heads, left = {}, tonumber(ARGV[2])
for at = 3, #ARGV do
  local key = P .. "e:" .. ARGV[at]
  left = left - call("STRLEN", key)
  if left < 0 and at > 3 then break end
  local e = event_of(ARGV[at])
  local record = e and call("GETRANGE", key, e.behind - 1, -1)
  -- JSON of one line, then the body.
  heads[#heads + 1] = record and string.sub(record, 1, (string.find(record, "\n", 1, true))) or ""
end
return heads
