-- Notes what is known of all alerts, and queues a message for the destinations that are told of them, in one step.
-- KEYS: 1 the alerts, further ones the queues of the destinations. ARGV: 1 the alerts as they were read, '' for none,
-- 2 the alerts as they are to be, '' for none, 3 the message, 4 how many wait for a destination at most, 5 how long a
-- queue is kept, in milliseconds. Answers 1 and, for each queue, how many messages had to make room; or nothing where
-- another process was first: then nothing is changed.
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return {} end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[2])
end
local answer = {1}
for i = 2, #KEYS do
  local excess = redis.call('RPUSH', KEYS[i], ARGV[3]) - tonumber(ARGV[4])
  redis.call('LTRIM', KEYS[i], -tonumber(ARGV[4]), -1)
  redis.call('PEXPIRE', KEYS[i], ARGV[5])
  answer[i] = math.max(excess, 0)
end
return answer
