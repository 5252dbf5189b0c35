-- Stands before every script, behind destination.lua: how deliveries are leased, by a claim or with the event
-- that they came with.

-- How many deliveries this script may lease, how many of them to destinations on trial, and for how long where
-- the registration says nothing. Most scripts lease none.
local slots, trials, lease_time = 0, 0, 0

-- The token of the last lease. Tokens never come again, even if Redis loses its last second.
local last_token
local function next_token()
  last_token = (last_token or tonumber(call("HGET", P .. "n", "k")) or 0) + 1
  if last_token < now then last_token = now end
  return last_token
end

-- A destination is served: it goes behind all others. Answers the token.
local function begin_service(d)
  local token = next_token()
  d[SERVED], d.is_changed = token, true
  if d[INTERVAL] > 0 then d[EVEN] = math.max(d[EVEN], now) + d[INTERVAL] end
  return token
end

-- A delivery of it is leased from now on.
local function take_slot(d, id)
  add(P .. "l", text(now + (d[LEASE] > 0 and d[LEASE] or lease_time)), id)
  slots = slots - 1
  if d[PROVEN] == 0 then trials = trials - 1 end
  d[IN_FLIGHT] = d[IN_FLIGHT] + 1
end

-- Whether anybody stands in line, or would if somebody looked; and whether anybody does on trial.
local is_line, is_line_on_trial
local function look_at_lines()
  is_line = call("EXISTS", P .. "lp") == 1 or call("ZCOUNT", P .. "w", "-inf", now) > 0
  is_line_on_trial = call("EXISTS", P .. "lt") == 1
end

-- Whether a destination whose delivery comes now would be the next to be served: it may be, nothing else
-- waits for it, and nobody else stands in line.
local function is_next(d)
  if slots == 0 or d.first ~= false or d[PROBE_AT] > now or is_line then return false end
  if d[IN_FLIGHT] >= cap_of(d) or (d[INTERVAL] > 0 and d[EVEN] - d[TOLERANCE] > now) then return false end
  if trials > 0 then return not is_line_on_trial end
  return d[PROVEN] == 1
end
