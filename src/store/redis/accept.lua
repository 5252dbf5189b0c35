-- Writes events, each with its call's context and its deliveries, or nothing of it. Everything is checked before
-- the first write, because an error in mid-script takes nothing back. The first write is a SET,
-- which a Redis without memory refuses, and with it the whole script.
--
-- ARGV: 2 slots of this process that wait for work, 3 how many of them for destinations on trial, 4 how long a
-- lease lasts in µs where the registration says nothing; from 5 on, the things, of each:
-- 1 account, 2 event, 3 received at, 4 dedupe key, 5 until when it
-- counts, 6 the same from now in ms, 7 the event's record, 8 call ("" for none), 9 the version that was
-- read ("" if nothing new is known of the call), 10 context, 11 the most that may be open, 12 the job that
-- ends with it ("" for none), 13 the token of its lease, 14 "c" if it was completed, else "f" and why it
-- failed, 15 what its late deliveries are rendered from ("" if none is late), 16 its deliveries as in
-- deliveries.lua; behind them, how many speech requests do not wait for the call any more, then for each:
-- which, the state of the call, and the reason or the delivery.
--
-- Answers each with what became of it; of one that was stored, also which deliveries are leased to this process
-- already.
slots, trials, lease_time = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
if slots > 0 then look_at_lines() end

-- What most of them look at, at once.
local keys, new_keys = {}, {}
each_at(5, function(at)
  local deliveries = find_deliveries(at + 16)
  keys[#keys + 1] = P .. "s:" .. ARGV[at + 4]
  for place = deliveries.first, deliveries.last, 9 do keys[#keys + 1] = P .. "d:" .. ARGV[place + 2] end
  names_of(ARGV[at + 2], deliveries, new_keys)
end)
fetch(keys)
look_for(new_keys)

return each(5, function(at)
  local account, event, received = ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3])
  local job = ARGV[at + 12] ~= "" and ARGV[at + 12]
  local deliveries = find_deliveries(at + 16)

  if job and call("HGET", P .. "j:" .. job, "n") ~= ARGV[at + 13] then return { "lost" } end
  local function end_its_job()
    if job then end_job(job, string.sub(ARGV[at + 14], 1, 1) == "f" and string.sub(ARGV[at + 14], 2), received) end
  end

  -- Whether a late delivery can be rendered with this version of its registration's definition, or will
  -- not be because that was removed.
  local function is_definition(callback, version)
    local k = call("HMGET", P .. "k:" .. callback, "a", "r", "V")
    if k[2] then return true end
    return k[1] and ((k[3] or NO_VERSION) == version or call("EXISTS", P .. "vd:" .. callback .. version) == 1)
  end

  local seen_key = P .. "s:" .. ARGV[at + 4]
  local seen = get(seen_key)
  if seen and tonumber(string.sub(seen, 17)) > received then
    end_its_job()
    return { "duplicate", string.sub(seen, 1, 16) }
  end
  local known = ARGV[at + 9] ~= "" and call("HMGET", P .. "c:" .. ARGV[at + 8], "v", "z", "p")
  if known and (known[1] or "0") ~= ARGV[at + 9] then return { "conflict" } end
  for place = deliveries.first, deliveries.last, 9 do
    local callback, version = ARGV[place + 1], late_version(ARGV[place + 6])
    if version and not is_definition(callback, version) then return { "conflict" } end
  end
  local refused = refusal(account, event, deliveries, ARGV[at + 11])
  if refused then return refused end

  call("SET", seen_key, event .. ARGV[at + 5], "PX", ARGV[at + 6])
  strings[seen_key] = event .. ARGV[at + 5]
  write_event(account, event, ARGV[at + 7], ARGV[at + 3], line_of_event(deliveries), ARGV[at + 4], ARGV[at + 8])
  if known then write_call(account, ARGV[at + 8], known, ARGV[at + 10], received) end
  local leased = write_deliveries(account, event, deliveries, string.match(ARGV[at + 8], "^%Z*%z(%Z*)%z"))
  if ARGV[at + 15] ~= "" and call("EXISTS", P .. "su:" .. event) == 1 then
    call("HSET", P .. "sn:" .. event, "b", ARGV[at + 15], "a", account, "z", #ARGV[at + 15])
    count_stored(account, #ARGV[at + 15])
  end
  for place = deliveries.behind + 1, deliveries.behind + 3 * tonumber(ARGV[deliveries.behind]), 3 do
    answer(ARGV[at + 8], ARGV[place], ARGV[place + 1], ARGV[place + 2])
  end
  end_its_job()
  return { "stored", leased }
end)
