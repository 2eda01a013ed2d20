-- Takes the fence of up to n leads that are due for a connector. ARGV: 4 connector, 5 until when the fence
-- holds, 6 n, 7 the fence's token, 8 '1' for an event connector.
-- Answers a flat list of id, document, sync record, '1' when an earlier fence lapsed (its push may have gone
-- out), and for an event connector the next revision and how the lead then was. Finding nothing due, it notes
-- that nobody is awake, so that the next change wakes a worker.
local c = ARGV[4]
local due = call('ZRANGEBYSCORE', p .. 'd:' .. c, '-inf', now, 'WITHSCORES', 'LIMIT', 0, ARGV[6])
if #due == 0 then
  call('HDEL', p .. 'w', c)
  return {}
end
call('HSET', p .. 'w', c, awake)
local claims = {}
for i = 1, #due, 2 do
  local id = due[i]
  local doc = call('GET', p .. 'l:' .. id)
  if doc then
    call('ZADD', p .. 'd:' .. c, ARGV[5], id)
    local lapsed = call('HGET', p .. 'f:' .. c, id)
    local since = lapsed and string.match(lapsed, ' (%d+)$') or call('ZSCORE', p .. 'b:' .. c, id) or due[i + 1] + skew
    -- gopher-lua formats no text as a number.
    call('HSET', p .. 'f:' .. c, id, string.format('%s %.0f', ARGV[7], tonumber(since)))
    local record = call('HGET', p .. 's:' .. id, c) or ''
    local event, was = '', ''
    if ARGV[8] == '1' and not is_tombstone(doc) then
      event, was = next_event(id, leading_number(record) or 0, doc)
    end
    for _, v in ipairs({id, doc, record, lapsed and '1' or '0', event, was}) do claims[#claims + 1] = v end
  else
    call('ZREM', p .. 'd:' .. c, id)
    call('ZREM', p .. 'b:' .. c, id)
    call('HDEL', p .. 'f:' .. c, id)
  end
end
return claims
