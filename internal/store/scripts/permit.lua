-- Asks leave for one call under a vendor's limits. KEYS[1] zset of calls by when they began, KEYS[2] zset of
-- calls in flight by when they no longer count. ARGV: 1 now, 2 the call's token, 3 calls at once or 0, 4 until
-- when the call is in flight if it is never handed back, 5 rate or 0, 6 the rate's window in ms.
-- Answers 0, or how many ms to wait before asking again. No window, wherever it begins, holds more than the
-- rate.
local call = redis.call
local now = tonumber(ARGV[1])
-- Times to come were noted before the clock was set back.
redis.call('ZREMRANGEBYSCORE', KEYS[1], '(' .. (now + 1000), '+inf')
redis.call('ZREMRANGEBYSCORE', KEYS[2], '(' .. (now + 60000), '+inf')
local most, rate = tonumber(ARGV[3]), tonumber(ARGV[5])
if most > 0 then
  call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
  if call('ZCARD', KEYS[2]) >= most then return 20 end
end
if rate > 0 then
  local window = tonumber(ARGV[6])
  call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - window)
  if call('ZCARD', KEYS[1]) >= rate then
    local oldest = call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
    return math.max(1, math.ceil(tonumber(oldest[2]) + window - now))
  end
  call('ZADD', KEYS[1], now, ARGV[2])
  call('PEXPIRE', KEYS[1], window + 1000)
end
if most > 0 then
  call('ZADD', KEYS[2], ARGV[4], ARGV[2])
  call('PEXPIRE', KEYS[2], 600000)
end
return 0
