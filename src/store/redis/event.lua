-- Stands before every script, behind delivery.lua: what an event is.

-- The bytes that are counted for it, its account, its dedupe key, the name of its call ("" for none), and
-- behind them the record of form.rs, which reads these too.
local EVENT_FORM = ">I8Hc0Hc0Hc0"

-- More bytes than stand before the record: names have up to 64, a call's id up to 512.
local EVENT_HEAD = 2048

-- Writes an event, whose time is told as `line` says: "xe", or "xk" if it is kept for longer.
local function write_event(account, event, record, received, line, dedupe, of_call)
  put(P .. "e:" .. event,
    struct.pack(EVENT_FORM, #record, #account, account, #dedupe, dedupe, #of_call, of_call) .. record)
  count_stored(account, #record)
  add(P .. "ie:" .. account, "0", event)
  if of_call ~= "" then call("ZADD", P .. "ce:" .. of_call, "0", event) end
  add(P .. line, received, event)
end

local function if_event(is_whole, size, account, dedupe, of_call, behind)
  if is_whole then return { size = size, account = account, dedupe = dedupe, call = of_call, behind = behind } end
end

-- An event; nothing if it is not there, or if its record is none.
local function event_of(event)
  return if_event(pcall(struct.unpack, EVENT_FORM, call("GETRANGE", P .. "e:" .. event, 0, EVENT_HEAD)))
end

-- Removes an event with everything of its own.
local function forget_event(event, e)
  remove(P .. "ie:" .. e.account, event)
  if e.call ~= "" then remove(P .. "ce:" .. e.call, event) end
  remove(P .. "xe", event)
  remove(P .. "xk", event)
  count_stored(e.account, -e.size)
  drop(P .. "e:" .. event)
end
