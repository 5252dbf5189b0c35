-- Looks whether deliveries are where their states demand. Changes nothing.
--
-- ARGV: from 2 on, deliveries. Answers { states, a letter for each that is there and "late" for each that
-- is not rendered yet, then for each thing that is wrong: delivery, kind, sentence }.
local states, told = {}, {}

local function has(set, member)
  return call("ZSCORE", P .. set, member) and true or false
end

-- How many attempts are recorded: each has its length before it.
local function count_recorded(id)
  local key, at, count = P .. "a:" .. id, 0, 0
  local size = call("STRLEN", key)
  while at + 4 <= size do
    at = at + 4 + struct.unpack(">I4", call("GETRANGE", key, at, at + 3))
    count = count + 1
  end
  return at == size and count
end

local function look(id)
  local h = delivery_of(id)
  local function tell(kind, sentence)
    told[#told + 1], told[#told + 2], told[#told + 3] = id, kind, sentence
  end
  if not h and call("EXISTS", P .. "h:" .. id) == 0 then return end
  local state = h and h[STATE]
  states[#states + 1] = state or "?"
  if not (state and string.find("qldxfc", state, 1, true) and h[ACCOUNT] ~= "") then
    tell("state", "it has no state, or a part of it is gone")
    return
  end
  local account, callback, destination, order = h[ACCOUNT], h[CALLBACK], h[TARGET], h[ORDER]
  local is_open = state == "q" or state == "l"
  if is_open and destination == "" then
    tell("state", "it is open, and has no destination")
    return
  end

  -- Whether it stands in a set where it should, and not where it should not.
  local function stands(set, expected, kind, sentence)
    local is_there = has(set, id)
    if expected and not is_there then tell(kind, sentence) end
    if is_there and not expected then
      tell("misplaced", "it stands in `" .. string.sub(set, 1, (string.find(set, ":", 1, true) or 0) - 1) ..
        "`, which is not for its state")
    end
  end
  stands("l", state == "l", "lost", "it is leased, and its lease never runs out: if its worker dies, nobody takes it")
  stands("o:" .. account, is_open, "unlisted", "it is open, and not among those that are")
  stands("xd", state == "d", "unlisted", "it is delivered, and would never be removed")
  stands("xf", not is_open and state ~= "d", "unlisted", "it is over, and would never be removed")
  for _, one in ipairs({ "x", "f", "c" }) do
    stands("is:" .. one .. ":" .. account, state == one, "unlisted", "it is not in the list of its state")
  end
  if not (has("i:" .. account, id) and has("ic:" .. callback, id)) or
    (h[CALL] ~= "" and not has("ik:" .. account .. "\0" .. h[CALL], id)) then
    tell("unlisted", "it is missing in a list in which it should be found")
  end

  if destination ~= "" then
    local queued, cancelled = has("q:" .. destination, id), has("qx:" .. destination, id)
    local line = order ~= "" and "g:" .. destination .. order
    local is_ordered = line and has(line, id)
    if state == "q" then
      local is_held_back = is_ordered and call("ZRANGE", P .. line, 0, 0)[1] ~= id
      if line and not is_ordered then tell("unlisted", "it has an order, and no place in it") end
      if is_held_back and (queued or cancelled) then
        tell("misplaced", "its order holds it back, and it is in a queue")
      elseif queued and cancelled then
        tell("misplaced", "it is in two queues")
      elseif not (is_held_back or queued or cancelled) then
        tell("lost", "it waits, and is in no queue: nobody would ever send it")
      end
    elseif queued or cancelled then
      tell(state == "l" and "misplaced" or "revenant", "it is leased or over, and in a queue: it would be sent again")
    end
    if is_ordered and not is_open then tell("misplaced", "it is over, and holds back its order") end
  end

  local has_request = call("EXISTS", P .. "r:" .. id) == 1
  if state == "f" and has_request then tell("state", "it was never rendered, and has a request") end
  -- One whose call was erased has none, and no attempts either; nor has one that was cancelled before
  -- it was rendered.
  local is_erased = h[ERASED] == 1
  if state ~= "f" and not has_request and not is_erased and h[UNRENDERED] == 0 then
    tell("no_request", "its request is not there: it can neither be shown nor sent")
  end
  local version = late_version_of(id)
  if version then
    states[#states + 1] = "late"
    if state == "d" or state == "c" then tell("state", "it is over, and waits to be rendered") end
    if call("EXISTS", P .. "sn:" .. h[EVENT]) == 0 then
      tell("no_request", "it is not rendered yet, and what it is rendered from is not there")
    end
    local k = call("HMGET", P .. "k:" .. callback, "a", "r", "V")
    -- What waits for one that was removed is cancelled.
    if k[1] and not k[2] and (k[3] or NO_VERSION) ~= version and
      call("EXISTS", P .. "vd:" .. callback .. version) == 0 then
      tell("no_request", "it is not rendered yet, and the definition that it names is not there")
    end
    if call("SISMEMBER", P .. "vu:" .. callback .. version, id) == 0 then
      tell("unlisted", "it is not rendered yet, and its definition would go before it")
    end
  end
  local is_listed = call("SISMEMBER", P .. "su:" .. h[EVENT], id) == 1
  if version and not is_listed then
    tell("unlisted", "it is not rendered yet, and what it is rendered from would go before it")
  elseif is_listed and not version then
    tell("misplaced", "it is among those that are yet to be rendered, and is none")
  end
  local attempts, recorded = h[ATTEMPTS], count_recorded(id)
  if recorded ~= h[RECORDED] or (attempts > recorded and not is_erased) or (state == "d" and attempts == 0) then
    tell("disagreement", "it counts other attempts than are recorded")
  end
  if (h[FINISHED] > 0) == is_open or (state == "l" and h[TOKEN] == 0) then
    tell("state", "its state and its other fields do not fit together")
  end
  if (state == "x" or state == "f") and has("xe", h[EVENT]) then
    tell("kept_too_briefly", "it is dead or failed, and its event would be removed before it")
  end
  if is_open and call("EXISTS", P .. "k:" .. callback) == 0 then
    tell("dangling", "it waits for a registration that there never was")
  end
end

fetch_deliveries({ unpack(ARGV, 2) })
for at = 2, #ARGV do look(ARGV[at]) end
return { states, told }
