-- Keeps an event that could not be read.
-- ARGV: 2 event, 3 received at, 4 the event's record, 5 account.
write_event(ARGV[5], ARGV[2], ARGV[4], ARGV[3], "xk", "", "")
return 1
