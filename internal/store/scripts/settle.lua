-- Records the outcome of a push, if the fence still holds: the compare-and-set that keeps late answers out.
-- ARGV: 4 connector, 5 id, 6 token, 7 verb, 8 sync record, 9 the revision pushed, 10 until when a kept fence
-- holds, or when the lead is due again, 11 '1' for an event connector, 12 the record to write instead when the
-- lead is to be parked but has changed since, 13 what the lead's history is told, or '', 14.. all event connectors.
-- Verbs: done (the remote has the revision), later (due again at 10), park (refused), note (write the record,
-- keep the fence).
-- Answers {'lost'}, {'settled'}, or {'more', document, record, event, was}: the lead has changed since, the
-- fence is kept.
local c, id, verb, record, pushed = ARGV[4], ARGV[5], ARGV[7], ARGV[8], tonumber(ARGV[9])
local since = held_since(c, id, ARGV[6])
if not since then return {'lost'} end
local doc = call('GET', p .. 'l:' .. id)
if not doc then return {'lost'} end
local wanted = leading_number(doc)
if ARGV[13] ~= '' then tell(id, ARGV[13]) end

local function release()
  call('HDEL', p .. 'f:' .. c, id)
end

if verb == 'note' then
  call('HSET', p .. 's:' .. id, c, record)
  return {'settled'}
end
if verb == 'later' then
  call('HSET', p .. 's:' .. id, c, record)
  call('ZADD', p .. 'd:' .. c, ARGV[10], id)
  call('ZADD', p .. 'b:' .. c, 'NX', since, id)
  release()
  return {'settled'}
end
if pushed < wanted then
  if verb == 'park' then record = ARGV[12] end
  call('HSET', p .. 's:' .. id, c, record)
  call('ZADD', p .. 'd:' .. c, ARGV[10], id)
  local event, was = '', ''
  if ARGV[11] == '1' and not is_tombstone(doc) then event, was = next_event(id, leading_number(record), doc) end
  return {'more', doc, record, event, was}
end
call('ZREM', p .. 'd:' .. c, id)
call('ZREM', p .. 'b:' .. c, id)
release()
if verb == 'park' then
  call('HSET', p .. 's:' .. id, c, record)
  call('ZADD', p .. 'p:' .. c, now, id)
  return {'settled'}
end
if is_tombstone(doc) then
  call('HDEL', p .. 's:' .. id, c)
  if call('EXISTS', p .. 's:' .. id) == 0 then call('DEL', p .. 'l:' .. id) end
  return {'settled'}
end
call('HSET', p .. 's:' .. id, c, record)
if ARGV[11] == '1' and call('EXISTS', p .. 'v:' .. id) == 1 then
  -- Forget the states that every event connector has been told of.
  local told = pushed
  for i = 14, #ARGV do
    if ARGV[i] ~= c then
      local other = call('HGET', p .. 's:' .. id, ARGV[i])
      if other then
        told = math.min(told, leading_number(other))
      elseif call('ZSCORE', p .. 'd:' .. ARGV[i], id) then
        told = 0
      end
    end
  end
  for _, r in ipairs(call('HKEYS', p .. 'v:' .. id)) do
    if tonumber(r) <= told then call('HDEL', p .. 'v:' .. id, r) end
  end
end
return {'settled'}
