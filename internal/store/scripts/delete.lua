-- Forgets a person: the lead becomes a tombstone without personal data, which goes when every connector that
-- may have the lead has confirmed. ARGV: 4 id, 5 the revision read before, 6 hash of the address, 7 a token of
-- this request, 8.. connectors.
-- Answers {'deleted', woken...}, {'gone'} or {'conflict'}.
local id = ARGV[4]
local doc = call('GET', p .. 'l:' .. id)
if not doc then return {'gone'} end
local revision = leading_number(doc)
if is_tombstone(doc) then
  -- A command that the client repeated after a lost connection finds its own work done.
  if string.find(doc, ARGV[7], 1, true) then return {'deleted'} end
  return {'gone'}
end
if revision ~= tonumber(ARGV[5]) then return {'conflict'} end
call('SET', p .. 'l:' .. id, string.format('%d D %s %s', revision + 1, ARGV[2], ARGV[7]))
call('DEL', p .. 'v:' .. id, p .. 'a:' .. id)
tell(id, string.format('{"t":%s,"r":%d,"o":"delete"}', ARGV[2], revision + 1))
call('ZREM', p .. 'ids', id)
call('ZREM', p .. 'e:' .. ARGV[6], id)
for i = 8, #ARGV do
  if call('ZSCORE', p .. 'd:' .. ARGV[i], id) then call('HSETNX', p .. 's:' .. id, ARGV[i], '0 {}') end
end
local concerned = call('HKEYS', p .. 's:' .. id)
for _, c in ipairs(concerned) do
  call('ZREM', p .. 'p:' .. c, id)
  work(c, id)
end
if #concerned == 0 then call('DEL', p .. 'l:' .. id) end
table.insert(woken, 1, 'deleted')
return woken
