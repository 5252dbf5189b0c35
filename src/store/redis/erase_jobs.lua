-- Removes speech jobs of a call that is erased: whoever is at work on one finds its lease lost.
-- ARGV: 2 on: the jobs.
allow_when_full()
for at = 2, #ARGV do forget_job(ARGV[at]) end
