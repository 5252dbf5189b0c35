-- Stands before the scripts that do several things at a time: many that wait are done by one script,
-- since a script costs more than most of what it does.
--
-- ARGV: from a place on, how many arguments the first thing has, then these, and so on.

-- Goes through the things: `at` is before the first argument of each.
local function each_at(first, act)
  local at = first
  while at <= #ARGV do
    act(at)
    at = at + tonumber(ARGV[at]) + 1
  end
end

-- Does each thing as if it were alone: `work` finds its arguments behind the place that it is given.
-- Answers with what each has answered, or { "error", text } for one that failed. If all have failed, so
-- does the script: then the server is to blame, or there was but one.
local function each(first, work)
  local answers, failed = {}, {}
  each_at(first, function(at)
    local is_done, answer = pcall(work, at)
    if not is_done then
      failed[#failed + 1] = refusal_of(answer)
      answer = { "error", failed[#failed].err }
    end
    answers[#answers + 1] = answer
  end)
  return #failed == #answers and failed[1] or answers
end
