-- Gives a lock back, unless it lapsed and is another's. KEYS[1] the lock. ARGV: 1 its holder's token. Answers nothing.
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return {}
