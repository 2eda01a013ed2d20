-- A permitted call is over. KEYS: 1 zset of calls in flight, then the logs of its rates. ARGV: 1 its token, 2 when it was
-- made, or '' if it was not. Answers nothing.
redis.call('ZREM', KEYS[1], ARGV[1])
for i = 2, #KEYS do
  local unit = ARGV[1] .. ':1'
  local counted = redis.call('ZREM', KEYS[i], unit) + redis.call('ZREM', KEYS[i], unit .. '~')
  if counted > 0 and ARGV[2] ~= '' then redis.call('ZADD', KEYS[i], ARGV[2], unit) end
end
return {}
