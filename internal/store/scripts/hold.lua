-- Lets nobody call until a time, unless it is so for longer already. KEYS[1] until when. ARGV: 1 the time, 2 how many ms
-- that is from now. Answers nothing.
if tonumber(redis.call('GET', KEYS[1]) or 0) < tonumber(ARGV[1]) then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return {}
