-- Makes a lead due at once for a connector, whatever became of it before: parked, waiting, or in step (then
-- its newest state is pushed once more). ARGV: 4 connector, 5 id. Answers {'gone'} or {'due', woken...}.
local c, id = ARGV[4], ARGV[5]
local doc = call('GET', p .. 'l:' .. id)
if not doc then return {'gone'} end
local wanted = leading_number(doc)
local record = call('HGET', p .. 's:' .. id, c)
if record and leading_number(record) >= wanted then
  call('HSET', p .. 's:' .. id, c, (wanted - 1) .. string.match(record, '^%d+(.*)$'))
end
call('ZREM', p .. 'p:' .. c, id)
work(c, id)
if call('HEXISTS', p .. 'f:' .. c, id) == 0 then call('ZADD', p .. 'd:' .. c, 'XX', now - skew, id) end
table.insert(woken, 1, 'due')
return woken
