-- The clock was set back: what is due in a time to come is due as much sooner. ARGV: 4 the zset by the time,
-- 5 by how many ms.
-- Answers nothing.
local due = p .. ARGV[4]
local later = call('ZRANGEBYSCORE', due, '(' .. ARGV[2], '+inf', 'WITHSCORES')
for i = 1, #later, 2 do
  call('ZADD', due, 'XX', string.format('%.0f', math.max(now - skew, later[i + 1] - ARGV[5])), later[i])
end
return {}
