-- Stands before the scripts that do several things at a time, behind the prelude: many that wait are done
-- by one script, since a script costs more than most of what it does.
--
-- ARGV: 2 how many arguments the first thing has, then these, and so on.

-- Does each thing as if it were alone: `work` finds its arguments in ARGV, from 2 on. Answers with what
-- each has answered, or { "error", text } for one that failed. If all have failed, so does the script:
-- then the server is to blame, or there was but one.
local function each(work)
  local given, answers, failed = ARGV, {}, {}
  local at = 2
  while at <= #given do
    local last = at + tonumber(given[at])
    ARGV = { given[1] }
    for place = at + 1, last do ARGV[#ARGV + 1] = given[place] end
    local is_done, answer = pcall(work)
    if not is_done then
      failed[#failed + 1] = refusal_of(answer)
      answer = { "error", failed[#failed].err }
    end
    answers[#answers + 1] = answer
    at = last + 1
  end
  ARGV = given
  return #failed == #answers and failed[1] or answers
end
