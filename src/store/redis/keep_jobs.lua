-- Says anew when leases of jobs run out; those that are not held any more are passed over.
-- ARGV: 2 in how many µs, then job and token in turn.
allow_when_full()
for at = 3, #ARGV, 2 do
  if call("HGET", P .. "j:" .. ARGV[at], "n") == ARGV[at + 1] then
    call("ZADD", P .. "jl", now + tonumber(ARGV[2]), ARGV[at])
  end
end
return 1
