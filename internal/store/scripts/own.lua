-- Under dedupe: which lead owns an address. ARGV: 4 hash of the address, 5 the proposed owner or '', 6 the id
-- found to own it no more, or ''. The owner is replaced by the proposed one if there is none or it is 6.
-- Answers the owner's id, or ''.
local owner = call('HGET', p .. 'own', ARGV[4])
if owner and owner ~= ARGV[6] then return owner end
if ARGV[5] == '' then
  call('HDEL', p .. 'own', ARGV[4])
else
  call('HSET', p .. 'own', ARGV[4], ARGV[5])
end
return ARGV[5]
