-- Claims fetches that are due. ARGV: 4 how many, 5 until when others may not claim them, 6.. the fields of a submission.
-- Answers a flat list of each one's id and fields.
local claims = {}
for _, id in ipairs(call('ZRANGEBYSCORE', p .. 'fetches', '-inf', now, 'LIMIT', 0, ARGV[4])) do
  call('ZADD', p .. 'fetches', ARGV[5], id)
  claims[#claims + 1] = id
  for i = 6, #ARGV do claims[#claims + 1] = call('HGET', p .. 'q:' .. id, ARGV[i]) or '' end
end
return claims
