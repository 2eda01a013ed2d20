-- Keeps a submission. ARGV: 4 hash of the idempotency key or '', 5 fingerprint of the request, 6 for how many seconds a
-- repeat is known, 7 id, 8 origin, 9 state, 10 reason, 11 payload, 12 how much spam of an origin the shard keeps.
-- Answers {'seen', record} when the shard knows the key, else {'kept', how much older spam went for it}.
local id, origin, state = ARGV[7], ARGV[8], ARGV[9]
if ARGV[4] ~= '' then
  local seen = repeated(ARGV[4], ARGV[5], ARGV[6], id)
  if seen then return {'seen', seen} end
end
call('HSET', p .. 'q:' .. id, 'o', origin, 's', state, 'r', ARGV[10], 't', ARGV[2], 'p', ARGV[11])
enter(id, state, origin)
if state == 'fetching' then
  call('HSET', p .. 'q:' .. id, 'n', ARGV[2])
  call('ZADD', p .. 'fetches', ARGV[2], id)
end
if state ~= 'spam' then return {'kept', '0'} end
local group = p .. 'i:spam:' .. origin
local over = call('ZCARD', group) - tonumber(ARGV[12])
if over <= 0 then return {'kept', '0'} end
local oldest = call('ZRANGE', group, 0, over - 1)
for _, older in ipairs(oldest) do forget(older) end
return {'kept', tostring(#oldest)}
