-- Accepts new leads. ARGV: 4 hash of the idempotency key or '', 5 fingerprint of the request, 6 '1' to keep the key with
-- the lead, '0' to keep it in the shard, 7 how many connectors, 8.. connectors, then of each lead its id, its document
-- and the hash of its address. With a key there is one lead.
-- Answers {'created', woken...}, {'seen', record} when the shard knows the key, or {'exists'} when all are there.
local key, with_lead, first = ARGV[4], ARGV[6] == '1', 8 + tonumber(ARGV[7])
if key ~= '' and not with_lead then
  local seen = call('GET', p .. 'k:' .. key)
  if seen then return {'seen', seen} end
  call('SET', p .. 'k:' .. key, ARGV[5] .. ' ' .. ARGV[first] .. ' ' .. ARGV[2], 'EX', 86400)
end
local ids, due = {}, {}
for i = first, #ARGV, 3 do
  local id = ARGV[i]
  if call('SET', p .. 'l:' .. id, ARGV[i + 1], 'NX') then
    local n = #ids
    ids[n + 1], ids[n + 2] = 0, id
    due[n + 1], due[n + 2] = now - skew, id
    call('ZADD', p .. 'e:' .. ARGV[i + 2], 0, id)
    if key ~= '' and with_lead then keep_answer(id, key, ARGV[5], ARGV[i + 1]) end
  end
end
if #ids == 0 then return {'exists'} end
call('ZADD', p .. 'ids', unpack(ids))
for i = 8, first - 1 do
  call('ZADD', p .. 'd:' .. ARGV[i], unpack(due))
  wake(ARGV[i])
end
table.insert(woken, 1, 'created')
return woken
