-- Adds to counters, several of which stand in one field of a hash. KEYS: the hashes. ARGV, for each of them: until when
-- it is kept, in Unix milliseconds, how many of its fields are added to, then each field and what is added to it.
-- Answers how many hashes there were.
local at = 1
for _, key in ipairs(KEYS) do
  local kept, fields = ARGV[at], tonumber(ARGV[at + 1])
  at = at + 2
  for _ = 1, fields do
    local sums, place = {}, 0
    for n in string.gmatch(redis.call('HGET', key, ARGV[at]) or '', '%d+') do sums[#sums + 1] = n end
    for n in string.gmatch(ARGV[at + 1], '%d+') do
      place = place + 1
      sums[place] = string.format('%.0f', tonumber(sums[place] or 0) + tonumber(n))
    end
    redis.call('HSET', key, ARGV[at], table.concat(sums, ' '))
    at = at + 2
  end
  redis.call('PEXPIREAT', key, kept)
end
return #KEYS
