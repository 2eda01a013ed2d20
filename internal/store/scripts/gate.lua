-- Replaces a connector's gate, unless an operator has paused it. KEYS[1] the gates. ARGV: 1 connector, 2 the gate, or
-- '' for an open one. Answers the gate as it then is, or ''.
local before = redis.call('HGET', KEYS[1], ARGV[1])
if before and cjson.decode(before).state == 'paused' then return before end
if ARGV[2] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
return ARGV[2]
