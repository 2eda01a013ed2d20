-- Accepts a new lead. ARGV: 4 id, 5 document, 6 hash of the address, 7 hash of the idempotency key or '',
-- 8 fingerprint of the request, 9 '1' to keep the key with the lead, '0' to keep it in the shard, 10.. connectors.
-- Answers {'created', woken...}, {'seen', record} when the shard knows the key, or {'exists'}.
local id, key, with_lead = ARGV[4], ARGV[7], ARGV[9] == '1'
if key ~= '' and not with_lead then
  local seen = call('GET', p .. 'k:' .. key)
  if seen then return {'seen', seen} end
  call('SET', p .. 'k:' .. key, ARGV[8] .. ' ' .. id .. ' ' .. ARGV[2], 'EX', 86400)
end
if not call('SET', p .. 'l:' .. id, ARGV[5], 'NX') then return {'exists'} end
if key ~= '' and with_lead then keep_answer(id, key, ARGV[8], ARGV[5]) end
call('ZADD', p .. 'ids', 0, id)
call('ZADD', p .. 'e:' .. ARGV[6], 0, id)
for i = 10, #ARGV do work(ARGV[i], id) end
table.insert(woken, 1, 'created')
return woken
