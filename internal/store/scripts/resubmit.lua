-- Records what became known of a submission. ARGV: 4 id, 5 state, 6 reason, 7 payload, 8 attempts.
-- Answers {'resubmitted'} or {'gone'}.
local id, state = ARGV[4], ARGV[5]
local at = p .. 'q:' .. id
local was = call('HMGET', at, 's', 'o')
if not was[1] then return {'gone'} end
if was[1] ~= state then
  leave(id, was[1], was[2])
  enter(id, state, was[2])
end
call('HSET', at, 's', state, 'r', ARGV[6], 'p', ARGV[7], 'a', ARGV[8])
if state == 'fetching' then
  call('HSET', at, 'n', ARGV[2])
  call('ZADD', p .. 'fetches', ARGV[2], id)
else
  call('HDEL', at, 'n')
  call('ZREM', p .. 'fetches', id)
end
return {'resubmitted'}
