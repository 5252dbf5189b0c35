-- Stands before every script, behind lease.lua: what a delivery is, how it waits, and how it ends.

local REMOVED = "its registration was removed"

-- The version of a definition that was written before there were versions.
local NO_VERSION = string.rep("\0", 16)

-- A delivery is a list of what is kept of it, in this order (form.rs reads it too). 0, "" and NO_ID are
-- none, and no; 1 is yes.
--
-- Its state (q queued, l leased, d delivered, x dead, f failed, c cancelled); its lease's token, and when
-- that began; attempts since its schedule began, attempts ever, how many are recorded, and crashes in a
-- row; when it is due as its process says, and for us; when it has ended; the bytes that are counted for
-- it; whether its call was erased, and whether it ended before it was rendered; what was made anew of it.
-- Then what it was born with: registration, event, when, account, destination, order, type, call and
-- its space. At last why it has ended.
local STATE, TOKEN, LEASED_AT, TRIES, ATTEMPTS, RECORDED, CRASHES, DUE_THERE, DUE, FINISHED, SIZE, ERASED,
  UNRENDERED, REPLAYED, CALLBACK, EVENT, CREATED, ACCOUNT, TARGET, ORDER, TYPE, CALL, SPACE, REASON =
  1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24
local STANDING = ">c1I8i8I4I4I4I4i8i8i8I8BBc16"
local STANDING_SIZE = 83
local BIRTH = ">c16c16i8Hc0Hc0Hc0Hc0Hc0Hc0"
local DELIVERY = STANDING .. string.sub(BIRTH, 2)
local NO_ID = string.rep("\0", 16)

-- The deliveries that this script has looked at.
local deliveries = {}

local function if_whole(is_whole, ...)
  if is_whole then return { ... } end
end

-- A delivery; nothing if it is not there, or if its record is none.
local function delivery_of(id)
  local h = deliveries[id]
  if h then return h end
  local record = get(P .. "h:" .. id)
  if not record then return nil end
  h = if_whole(pcall(struct.unpack, DELIVERY, record))
  if not h then return nil end
  local behind = h[REASON]
  h.id, h[REASON] = id, string.sub(record, behind)
  h.birth = string.sub(record, STANDING_SIZE + 1, behind - 1)
  deliveries[id] = h
  return h
end

-- Has a delivery written, at the end: said before anything that can fail, so that what is written of it fits
-- together.
local function write_delivery(h)
  h.is_changed = true
end

local function keep_deliveries()
  for id, h in pairs(deliveries) do
    if h.is_changed then
      put(P .. "h:" .. id, struct.pack(STANDING, unpack(h, 1, REPLAYED)) .. h.birth .. h[REASON])
    end
  end
end

-- Says anew what it was born with.
local function set_birth(h)
  h.birth = struct.pack(BIRTH, h[CALLBACK], h[EVENT], h[CREATED], #h[ACCOUNT], h[ACCOUNT], #h[TARGET], h[TARGET],
    #h[ORDER], h[ORDER], #h[TYPE], h[TYPE], #h[CALL], h[CALL], #h[SPACE], h[SPACE])
end

-- A delivery that is new.
local function new_delivery(id, callback, event, created, account, destination, order, event_type, of_call, space)
  local h = { "q", 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, NO_ID, callback, event, created, account, destination, order,
    event_type, of_call, space, "" }
  h.id = id
  set_birth(h)
  deliveries[id] = h
  return h
end

-- Removes a delivery with everything of its own.
local function forget_delivery(id)
  deliveries[id] = nil
  for _, kind in ipairs({ "h:", "r:", "a:" }) do drop(P .. kind .. id) end
end

-- The record of one that is leased, made of one that waits: the lease stands in front. (How long that is, and
-- where the counted bytes stand, as STANDING has them.)
local LEASE_SIZE, SIZE_AT = 17, 58
local function leased_record(record, token)
  return "l" .. struct.pack(">I8i8", token, now) .. string.sub(record, LEASE_SIZE + 1)
end

-- The record of one that is new, of which these are the bytes around its time: leased, if there is a token.
local function new_record(token, front, due, back)
  local record = front .. struct.pack(">i8", due) .. back
  return token and leased_record(record, token) or record
end

-- What a claim looks at, of the record of one that waits: the bytes that are counted for it; and its registration
-- and how many attempts were made. Nothing, if it does not wait, or if its record is none.
local LEAST_SIZE = STANDING_SIZE + 52
local function size_of_waiting(record)
  if not record or #record < LEAST_SIZE or string.byte(record) ~= string.byte("q") then return nil end
  if not pcall(struct.unpack, BIRTH, record, STANDING_SIZE + 1) then return nil end
  return (struct.unpack(">i8", record, SIZE_AT))
end
local function read_waiting(record)
  return string.sub(record, STANDING_SIZE + 1, STANDING_SIZE + 16), (struct.unpack(">I4", record, LEASE_SIZE + 1))
end

-- Reads these deliveries, and their destinations, at once, for those who look at them afterwards.
local function fetch_deliveries(ids)
  local keys = {}
  for at, id in ipairs(ids) do keys[at] = P .. "h:" .. id end
  fetch(keys)
  keys = {}
  for _, id in ipairs(ids) do
    local h = delivery_of(id)
    if h then keys[#keys + 1] = P .. "d:" .. h[TARGET] end
  end
  fetch(keys)
end

-- Records an attempt, behind those that were; each with its length before it.
local function record_attempt(h, record)
  local key, framed = P .. "a:" .. h.id, struct.pack(">I4", #record) .. record
  h[RECORDED] = h[RECORDED] + 1
  if h[RECORDED] == 1 then
    put(key, framed)
  elseif written[key] then
    put(key, written[key] .. framed)
  else
    call("APPEND", key, framed)
  end
end

-- All that is written at the end.
local function write_out()
  for _, d in pairs(loaded) do
    if d.is_changed then write_destination(d) end
  end
  keep_deliveries()
  if last_token then call("HSET", P .. "n", "k", text(last_token)) end
  write_strings()
  write_members()
  for account, bytes in pairs(counted) do
    if bytes ~= 0 then call("HINCRBY", P .. "b", account, bytes) end
  end
  for _, write in ipairs(owed) do write() end
  if not is_work and next(waits) then is_work = waits[call("ZRANGE", P .. "w", 0, 0)[1]] end
  if is_work and call("LLEN", P .. "wake") == 0 then call("LPUSH", P .. "wake", 1) end
end

-- Puts a delivery behind all of its order; whether it is held back.
local function join(destination, order, id)
  local key = P .. "g:" .. destination .. order
  local last = call("ZREVRANGE", key, 0, 0, "WITHSCORES")
  call("ZADD", key, (tonumber(last[2]) or 0) + 1, id)
  return last[1] ~= nil
end

-- A delivery has ended: it is the turn of the next of its order, if it had one. The destination is
-- to be filed anew afterwards.
local function leave(h, is_removed)
  if h[ORDER] == "" then return end
  local key = P .. "g:" .. h[TARGET] .. h[ORDER]
  local is_head = call("ZRANGE", key, 0, 0)[1] == h.id
  call("ZREM", key, h.id)
  local next_one = is_head and call("ZRANGE", key, 0, 0)[1]
  if not next_one then return end
  local of_next = delivery_of(next_one)
  local due = of_next and of_next[DUE] or now
  if is_removed then
    call("ZADD", P .. "qx:" .. h[TARGET], due, next_one)
    call("SADD", P .. "zx", h[TARGET])
  else
    enqueue(load(h[TARGET]), next_one, due)
  end
end

-- Notes something that registrations may want to hear of; delivery is nothing if the registration
-- was paused. announcing.rs takes it apart.
local function announce(account, callback, delivery, reason, at)
  call("ZADD", P .. "an", at, callback .. (delivery or NO_ID) ..
    string.format("%.0f", at) .. "\0" .. account .. "\0" .. reason)
end

-- Of a request that is yet to be rendered, the version of the definition that it names (form.rs): such
-- a record begins with a byte that no other begins with.
local function late_version(record)
  if record and string.byte(record) == 0 then return string.sub(record, 2, 17) end
end

-- The same of a delivery.
local function late_version_of(id)
  local record = strings[P .. "r:" .. id]
  if record == nil then record = call("GETRANGE", P .. "r:" .. id, 0, 16) end
  return late_version(record)
end

-- A late delivery was rendered, or never will be. What it was to be rendered from goes with the last
-- that needs it.
local function forget_late(h, version)
  call("SREM", P .. "su:" .. h[EVENT], h.id)
  if call("EXISTS", P .. "su:" .. h[EVENT]) == 0 then
    local s = call("HMGET", P .. "sn:" .. h[EVENT], "a", "z")
    if s[1] then count_stored(s[1], -tonumber(s[2])) end
    call("UNLINK", P .. "sn:" .. h[EVENT])
  end
  local definition = h[CALLBACK] .. version
  call("SREM", P .. "vu:" .. definition, h.id)
  if call("EXISTS", P .. "vu:" .. definition) == 0 then call("UNLINK", P .. "vd:" .. definition) end
end

-- Removes what a delivery sends.
local function drop_request(h)
  local version = late_version_of(h.id)
  if version then forget_late(h, version) end
  drop(P .. "r:" .. h.id)
end

-- Counts no bytes for a delivery any more, whose request was removed though it stays.
local function uncount(h)
  count_stored(h[ACCOUNT], -h[SIZE])
  h[SIZE] = 0
end

-- Ends a delivery that will not be sent again; reason is nothing if it was delivered.
local function finish(h, state, reason, at)
  local id, account = h.id, h[ACCOUNT]
  h[STATE], h[FINISHED], h[REASON] = state, at, reason or ""
  write_delivery(h)
  remove(P .. "o:" .. account, id)
  if state == "d" then
    add(P .. "xd", text(at), id)
    return
  end
  add(P .. "xf", text(at), id)
  call("ZADD", P .. "is:" .. state .. ":" .. account, 0, id)
  -- One that was not rendered yet never will be.
  if (state == "f" or state == "c") and late_version_of(id) then
    drop_request(h)
    uncount(h)
    h[UNRENDERED] = 1
  end
  -- But not of one that would itself have told of such a thing, or that would never end.
  if state == "x" and h[TYPE] ~= "delivery.dead" and h[TYPE] ~= "callback.paused" then
    announce(account, h[CALLBACK], id, reason, at)
  end
  if state == "x" or state == "f" then
    -- What a delivery came from that is dead or failed is kept as long as the delivery.
    local received = call("ZSCORE", P .. "xe", h[EVENT])
    if received then
      call("ZREM", P .. "xe", h[EVENT])
      call("ZADD", P .. "xk", received, h[EVENT])
    end
  end
end

-- How many deliveries of an account are open, with those that this script adds.
local open = {}
local function count_open(account)
  if not open[account] then open[account] = call("ZCARD", P .. "o:" .. account) end
  return open[account]
end

-- Puts a delivery into the lists in which it is found.
local function list(id, account, callback, of_call)
  add(P .. "i:" .. account, "0", id)
  call("ZADD", P .. "ic:" .. callback, "0", id)
  if of_call ~= "" then add(P .. "ik:" .. account .. "\0" .. of_call, "0", id) end
end

-- Takes a delivery out of these lists.
local function unlist(h)
  remove(P .. "i:" .. h[ACCOUNT], h.id)
  remove(P .. "ic:" .. h[CALLBACK], h.id)
  if h[CALL] ~= "" then remove(P .. "ik:" .. h[ACCOUNT] .. "\0" .. h[CALL], h.id) end
end

-- Writes a delivery, of which `add_delivery` in writing.rs gives the nine arguments behind `at`: its record is
-- written there, but for its lease and for when it is due here. Answers its lease's token and whether that is
-- on trial, if there are slots for it and nobody else's turn is before.
local function put_delivery(account, event, at)
  local id, callback, destination, order, record = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 6]
  local due, d = now + ARGV[at + 5], load(destination)
  put(P .. "r:" .. id, record)
  count_stored(account, #record)
  local version = late_version(record)
  if version then
    call("SADD", P .. "su:" .. event, id)
    call("SADD", P .. "vu:" .. callback .. version, id)
  end
  list(id, account, callback, ARGV[at + 4])
  -- Its registration may have been removed while the event was on its way.
  local is_over = is_removed(callback)
  local is_held_back = order ~= "" and not is_over and join(destination, order, id)
  local token = not is_over and not is_held_back and due <= now and is_next(d) and begin_service(d)
  put(P .. "h:" .. id, new_record(token, ARGV[at + 7], due, ARGV[at + 8]))
  if is_over then
    local h = delivery_of(id)
    finish(h, "c", REMOVED, h[CREATED])
    return
  end
  add(P .. "o:" .. account, "0", id)
  open[account] = count_open(account) + 1
  if token then
    take_slot(d, id)
    return token, d[PROVEN] == 0
  end
  if is_held_back then return end
  enqueue(d, id, due)
  -- One that is in line stays where it is.
  if d[LINE] ~= READY and d[LINE] ~= ON_TRIAL then
    refile(d)
    wake_for(d)
  end
  if d[LINE] == READY then is_line = true elseif d[LINE] == ON_TRIAL then is_line_on_trial = true end
end
