-- Leases up to so many jobs whose time has come, those first that are due longest; of submissions
-- no more than there is room for at their provider, over all processes.
--
-- ARGV: 2 slots, 3 how long a lease lasts in µs, then for each source its name and how many jobs may
-- be at work at its provider.
-- Answers with { job, token, phase, record, record of its standing, due as its process said } each.
allow_when_full()
local slots, lease = tonumber(ARGV[2]), tonumber(ARGV[3])
local due, has_more = {}, false

local function gather(source, line, count)
  local found = call("ZRANGEBYSCORE", line, "-inf", now, "WITHSCORES", "LIMIT", 0, count)
  for at = 1, #found, 2 do
    due[#due + 1] = { id = found[at], at = tonumber(found[at + 1]), place = #due, line = line, source = source }
  end
end

for at = 4, #ARGV, 2 do
  local source = ARGV[at]
  gather(source, line_of("processing", source), slots)
  local room = tonumber(ARGV[at + 1]) - call("SCARD", P .. "ja:" .. source)
  if room > 0 then gather(source, line_of("submitted", source), math.min(room, slots)) end
end
table.sort(due, function(one, other)
  if one.at ~= other.at then return one.at < other.at end
  return one.place < other.place
end)

local token = tonumber(call("HGET", P .. "n", "k")) or 0
local claims = {}
for place, job in ipairs(due) do
  if place > slots then
    -- What is left over is for another process, if there is one that waits.
    wake_for_jobs()
    break
  end
  local key = P .. "j:" .. job.id
  local h = call("HMGET", key, "p", "b", "g", "u")
  call("ZREM", job.line, job.id)
  -- Whole, or it is out of the way of the others.
  if h[1] and h[2] and h[3] and h[4] then
    token = token + 1
    -- Tokens never come again, even if Redis loses its last second.
    if token < now then token = now end
    call("HSET", key, "n", token)
    call("ZADD", P .. "jl", now + lease, job.id)
    if h[1] == "submitted" then note_work(job.id, job.source, true) end
    claims[#claims + 1] = { job.id, token, h[1], h[2], h[3], h[4] }
  end
end
call("HSET", P .. "n", "k", token)
return claims
