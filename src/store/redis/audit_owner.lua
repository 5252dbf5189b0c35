-- Stands before the scripts that look at members of sets, behind the prelude.

local OF_DELIVERY = { account = ACCOUNT, callback = CALLBACK, destination = TARGET, event = EVENT, call = CALL }

-- What the thing says of itself to which a key leads: of deliveries and events a part with this name, of
-- others a field.
local function said_of(begins, name, part)
  if begins == "h:" then
    local h = delivery_of(name)
    return h and h[OF_DELIVERY[part]]
  end
  if begins == "e:" then
    local e = event_of(name)
    return e and e[part]
  end
  return call("HGET", P .. begins .. name, part)
end
