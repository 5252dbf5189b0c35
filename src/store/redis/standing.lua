-- How much waits, and for how long. Changes nothing.
-- ARGV: 2 of how many destinations of each line the oldest delivery is looked for, then accounts.
-- Answers { open, leased, the oldest due time (0 for none), open circuits, paused registrations, jobs that
-- are not over, leased jobs }.
local open, jobs, oldest = 0, 0, 0
for at = 3, #ARGV do
  open = open + call("ZCARD", P .. "o:" .. ARGV[at])
  jobs = jobs + call("SCARD", P .. "jo:" .. ARGV[at])
end
local function look(destinations)
  for _, id in ipairs(destinations) do
    local due = tonumber(call("ZRANGE", P .. "q:" .. id, 0, 0, "WITHSCORES")[2])
    if due and due <= now and (oldest == 0 or due < oldest) then oldest = due end
  end
end
local most = tonumber(ARGV[2])
look(call("ZRANGE", P .. "lp", 0, most - 1))
look(call("ZRANGE", P .. "lt", 0, most - 1))
look(call("ZRANGEBYSCORE", P .. "w", "-inf", now, "LIMIT", 0, most))
return { open, call("ZCARD", P .. "l"), oldest, call("SCARD", P .. "co"), call("ZCARD", P .. "kp"), jobs,
  call("ZCARD", P .. "jl") }
