-- Records a fetch that failed. ARGV: 4 id, 5 reason, 6 when it is due again, 7 '1' if it was an attempt.
-- Answers {'postponed'} or {'gone'}.
local at = p .. 'q:' .. ARGV[4]
local state = call('HGET', at, 's')
if not state then return {'gone'} end
if state == 'fetching' then
  call('HSET', at, 'r', ARGV[5], 'n', ARGV[6])
  if ARGV[7] == '1' then call('HINCRBY', at, 'a', 1) end
  call('ZADD', p .. 'fetches', ARGV[6], ARGV[4])
end
return {'postponed'}
