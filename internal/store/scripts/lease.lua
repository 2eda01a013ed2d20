-- Takes a lease, or prolongs one that is held already. KEYS[1] the lease. ARGV: 1 its holder's token, 2 for how long, in
-- milliseconds. Answers 1, or 0 where it is another's.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
