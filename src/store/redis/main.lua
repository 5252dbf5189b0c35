-- Stands behind every script, which is `main` here: what it left for the end is written even if it failed,
-- since what it wrote before is not taken back.
local is_done, answer = pcall(main)
local is_written, failure = pcall(write_out)
if not is_done then return refusal_of(answer) end
if not is_written then return refusal_of(failure) end
return unwritten and refusal_of(unwritten) or answer
