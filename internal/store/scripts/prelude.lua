-- Shared beginning of every script. KEYS[1] is any key of the shard (it routes the script), ARGV[1] the
-- shard's prefix, ARGV[2] the time now and ARGV[3] until when a worker woken now counts as awake, both in
-- Unix milliseconds.
local p, now, awake = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local call = redis.call

-- skew is how far another process's clock may be behind ours; work for now is dated that far back.
local skew = 1000

local woken = {}

-- wake notes that a job is owed to connector c, unless a worker is awake for this shard already.
-- A mark beyond what a worker woken now would set was made before a clock was set back: it counts for nothing.
local function wake(c)
  local till = tonumber(call('HGET', p .. 'w', c) or 0)
  if till < now or till > tonumber(awake) + skew then
    call('HSET', p .. 'w', c, awake)
    woken[#woken + 1] = c
  end
end

-- work makes lead id due at once for connector c, unless it already waits or is being pushed.
local function work(c, id)
  call('ZADD', p .. 'd:' .. c, 'NX', now - skew, id)
  wake(c)
end

-- held_since tells since when a lead that is fenced by this token waits for connector c: when the oldest change that
-- the connector lacks was accepted. nil where the fence is another's.
local function held_since(c, id, token)
  local fence = call('HGET', p .. 'f:' .. c, id)
  if fence and string.sub(fence, 1, #token + 1) == token .. ' ' then return string.sub(fence, #token + 2) end
end

-- tell adds to a lead's history, of which the shard keeps the newest (maxHistory).
local function tell(id, what)
  call('LPUSH', p .. 'h', id .. ' ' .. what)
  call('LTRIM', p .. 'h', 0, 4095)
end

-- repeated returns what a request with this idempotency key made. If there was none, it notes that this one makes id.
local function repeated(key, fingerprint, seconds, id)
  local at, record = p .. 'k:' .. key, fingerprint .. ' ' .. id .. ' ' .. ARGV[2]
  if call('SET', at, record, 'NX', 'EX', seconds) then return nil end
  local seen = call('GET', at)
  if not string.find(seen, ' - ', 1, true) then return seen end
  call('SET', at, record, 'EX', seconds) -- under dedupe one began, and never came to say what it made
end

-- is_lapsed says whether an answer was kept for its time.
local function is_lapsed(answer)
  return tonumber((string.match(answer, '^%S+ (%d+)'))) <= now
end

-- keep_answer keeps for some seconds, with the lead, how it was after a request with an idempotency key.
local function keep_answer(id, key, fingerprint, seconds, doc)
  local kept = p .. 'a:' .. id
  if call('HLEN', kept) >= 16 then
    for _, k in ipairs(call('HKEYS', kept)) do
      if is_lapsed(call('HGET', kept, k)) then call('HDEL', kept, k) end
    end
  end
  call('HSET', kept, key, string.format('%s %.0f %s', fingerprint, now + seconds * 1000, doc))
  if call('TTL', kept) < tonumber(seconds) then call('EXPIRE', kept, seconds) end
end

local function leading_number(s)
  return tonumber((string.match(s, '^%d+'))) -- in gopher-lua a match that fails is no value, not nil
end

local function is_tombstone(doc)
  return string.find(doc, '^%d+ D') ~= nil
end

-- next_event returns the oldest revision of a lead that comes after synced, and how the lead then was.
local function next_event(id, synced, doc)
  local best
  for _, r in ipairs(call('HKEYS', p .. 'v:' .. id)) do
    local n = tonumber(r)
    if n > synced and (not best or n < best) then best = n end
  end
  if not best then return '', '' end
  return tostring(best), call('HGET', p .. 'v:' .. id, tostring(best))
end
