-- Stands before the scripts that touch speech jobs, behind the prelude: where a job is filed, and
-- who is told of it.

-- Wakes one of the processes that wait for jobs.
local function wake_for_jobs()
  if call("LLEN", P .. "jb") == 0 then call("LPUSH", P .. "jb", 1) end
end

-- The line in which a job of this phase waits. Submissions wait for room at their provider, too.
local function line_of(phase, source)
  return P .. (phase == "submitted" and "js:" or "jw:") .. source
end

-- Says whether a job is at work: its provider has it, or it is being handed over. The room of one
-- that is not any more is for a submission that waits.
local function note_work(id, source, is_at_work)
  if is_at_work then
    call("SADD", P .. "ja:" .. source, id)
  elseif call("SREM", P .. "ja:" .. source, id) == 1 and call("EXISTS", P .. "js:" .. source) == 1 then
    wake_for_jobs()
  end
end

-- Nobody works on a job any more, and it waits from now on.
local function wait(id, source, phase, due)
  call("ZREM", P .. "jl", id)
  call("HDEL", P .. "j:" .. id, "n", "h")
  call("HSET", P .. "j:" .. id, "w", due)
  note_work(id, source, phase == "processing")
  local line = line_of(phase, source)
  call("ZADD", line, due, id)
  -- Whoever sleeps until a later one hears of it.
  if due <= now or call("ZRANGE", line, 0, 0)[1] == id then wake_for_jobs() end
end

-- Makes room for another try of what failed, or was removed.
local function free_key(id, source, key)
  local by_key = P .. "jk:" .. source .. "\0" .. key
  if call("GET", by_key) == id then call("DEL", by_key) end
end

-- Ends a job; reason is nothing if it was completed.
local function end_job(id, reason, at)
  local key = P .. "j:" .. id
  local h = call("HMGET", key, "s", "a", "y")
  call("ZREM", P .. "jl", id)
  call("SREM", P .. "jo:" .. h[2], id)
  call("HDEL", key, "n", "h")
  call("HSET", key, "e", reason and "f" .. reason or "c")
  call("ZADD", P .. "xj", at, id)
  if reason then free_key(id, h[1], h[3]) end
  note_work(id, h[1], false)
end

-- Removes a job and everything that points at it.
local function forget_job(id)
  local key = P .. "j:" .. id
  local h = call("HMGET", key, "s", "a", "y", "i", "p")
  if h[1] then
    call("SREM", P .. "jo:" .. h[2], id)
    call("ZREM", line_of(h[5], h[1]), id)
    call("ZREM", P .. "jl", id)
    free_key(id, h[1], h[3])
    if h[4] then call("ZREM", P .. "jp:" .. h[1] .. "\0" .. h[4], id) end
    note_work(id, h[1], false)
  end
  call("ZREM", P .. "xj", id)
  call("UNLINK", key)
end
