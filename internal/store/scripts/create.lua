-- Accepts a new lead. ARGV: 4 id, 5 document, 6 hash of the address, 7 hash of the idempotency key or '',
-- 8 fingerprint of the request, 9.. connectors.
-- Answers {'created', woken...}, {'seen', record} when the idempotency key was used before, or {'exists'}.
local id = ARGV[4]
if ARGV[7] ~= '' then
  local key = p .. 'k:' .. ARGV[7]
  local seen = call('GET', key)
  if seen then return {'seen', seen} end
  call('SET', key, ARGV[8] .. ' ' .. id .. ' ' .. ARGV[2], 'EX', 86400)
end
if not call('SET', p .. 'l:' .. id, ARGV[5], 'NX') then return {'exists'} end
call('ZADD', p .. 'ids', 0, id)
call('ZADD', p .. 'email', 0, ARGV[6] .. ':' .. id)
for i = 9, #ARGV do work(ARGV[i], id) end
table.insert(woken, 1, 'created')
return woken
