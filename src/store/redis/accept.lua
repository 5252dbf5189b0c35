-- Writes events, each with its call's context and its deliveries, or nothing of it. Everything is checked before
-- the first write, because an error in mid-script takes nothing back. The first write is a SET,
-- which a Redis without memory refuses, and with it the whole script.
--
-- ARGV of each: 2 account, 3 event, 4 received at, 5 dedupe key, 6 until when it counts, 7 the same from now
-- in ms, 8 the event's record, 9 call ("" for none), 10 the version that was read ("" if nothing new is
-- known of the call), 11 context, 12 the most that may be open, 13 the job that ends with it ("" for
-- none), 14 the token of its lease, 15 "c" if it was completed, else "f" and why it failed, 16 what its
-- late deliveries are rendered from ("" if none is late), 17 its deliveries as in deliveries.lua; behind
-- them, how many speech requests do not wait for the call any more, then for each: which, the state
-- of the call, and the reason or the delivery.
return each(function()
  local account, event, received = ARGV[2], ARGV[3], tonumber(ARGV[4])
  local job = ARGV[13] ~= "" and ARGV[13]
  local deliveries = find_deliveries(17)

  if job and call("HGET", P .. "j:" .. job, "n") ~= ARGV[14] then return { "lost" } end
  local function end_its_job()
    if job then end_job(job, string.sub(ARGV[15], 1, 1) == "f" and string.sub(ARGV[15], 2), received) end
  end

  -- Whether a late delivery can be rendered with this version of its registration's definition, or will
  -- not be because that was removed.
  local function is_definition(callback, version)
    local k = call("HMGET", P .. "k:" .. callback, "a", "r", "V")
    if k[2] then return true end
    return k[1] and ((k[3] or NO_VERSION) == version or call("EXISTS", P .. "vd:" .. callback .. version) == 1)
  end

  local seen_key = P .. "s:" .. ARGV[5]
  local seen = call("GET", seen_key)
  if seen and tonumber(string.sub(seen, 17)) > received then
    end_its_job()
    return { "duplicate", string.sub(seen, 1, 16) }
  end
  local known = ARGV[10] ~= "" and call("HMGET", P .. "c:" .. ARGV[9], "v", "z", "p")
  if known and (known[1] or "0") ~= ARGV[10] then return { "conflict" } end
  for at = deliveries.first, deliveries.last, 10 do
    local callback, version = ARGV[at + 1], late_version(ARGV[at + 8])
    if version and not is_definition(callback, version) then return { "conflict" } end
  end
  local refused = refusal(account, event, deliveries, ARGV[12])
  if refused then return refused end

  call("SET", seen_key, event .. ARGV[6], "PX", ARGV[7])
  if ARGV[9] == "" then
    write_event(account, event, ARGV[8], ARGV[4], deliveries, "s", ARGV[5])
  else
    write_event(account, event, ARGV[8], ARGV[4], deliveries, "s", ARGV[5], "c", ARGV[9])
    add(P .. "ce:" .. ARGV[9], "0", event)
  end
  if known then write_call(account, ARGV[9], known, ARGV[11], received) end
  write_deliveries(account, event, deliveries, string.match(ARGV[9], "^%Z*%z(%Z*)%z"))
  if ARGV[16] ~= "" and call("EXISTS", P .. "su:" .. event) == 1 then
    call("HSET", P .. "sn:" .. event, "b", ARGV[16], "a", account, "z", #ARGV[16])
    count_stored(account, #ARGV[16])
  end
  for at = deliveries.behind + 1, deliveries.behind + 3 * tonumber(ARGV[deliveries.behind]), 3 do
    answer(ARGV[9], ARGV[at], ARGV[at + 1], ARGV[at + 2])
  end
  end_its_job()
  return { "stored" }
end)
