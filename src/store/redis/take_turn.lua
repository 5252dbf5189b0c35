-- Counts a request to a source's provider, if its rate has room for one now (GCRA, as refile in
-- destination.lua has it); 0 then, else in how many µs it has.
-- ARGV: 2 source, 3 interval, 4 tolerance in µs.
allow_when_full()
local key, interval, tolerance = P .. "jr:" .. ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local even = tonumber(call("GET", key)) or now
if even < now then even = now end
-- If the clock was set back, nobody waits longer than after a full burst.
if even > now + tolerance + interval then even = now + tolerance + interval end
if even - tolerance > now then return even - tolerance - now end
even = even + interval
call("SET", key, even, "PX", math.ceil((even - now) / 1000))
return 0
