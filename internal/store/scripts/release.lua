-- Makes a submission a lead. ARGV: 4 id, 5 the lead's document, 6 hash of its address, 7.. connectors.
-- Answers {'released', woken...}, {'exists', document} or {'gone'}.
local id = ARGV[4]
local doc = call('GET', p .. 'l:' .. id)
if doc then return {'exists', doc} end
if not forget(id) then return {'gone'} end
call('SET', p .. 'l:' .. id, ARGV[5])
call('ZADD', p .. 'ids', 0, id)
call('ZADD', p .. 'e:' .. ARGV[6], 0, id)
for i = 7, #ARGV do work(ARGV[i], id) end
table.insert(woken, 1, 'released')
return woken
