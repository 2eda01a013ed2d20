-- Reads a claimed lead again, if the fence still holds. ARGV: 4 connector, 5 id, 6 token, 7 until when the
-- fence holds, 8 '1' for an event connector. Answers {'lost'} or {'held', document, record, event, was}.
local c, id = ARGV[4], ARGV[5]
if not held_since(c, id, ARGV[6]) then return {'lost'} end
local doc = call('GET', p .. 'l:' .. id)
if not doc then return {'lost'} end
call('ZADD', p .. 'd:' .. c, ARGV[7], id)
local record = call('HGET', p .. 's:' .. id, c) or ''
local event, was = '', ''
if ARGV[8] == '1' and not is_tombstone(doc) then event, was = next_event(id, leading_number(record) or 0, doc) end
return {'held', doc, record, event, was}
