-- Accepts a changed lead. ARGV: 4 id, 5 the revision the change was made from, 6 document, 7 and 8 hashes of
-- the old and the new address, 9 hash of the idempotency key or '', 10 fingerprint of the request, 11 for how
-- many seconds a repeat is known, 12 '1' when the document differs, 13 how many of the connectors are event connectors,
-- 14.. connectors, those first.
-- Answers {'updated', woken...}, {'gone'}, {'conflict'} or {'seen', record}.
local id, base = ARGV[4], ARGV[5]
local doc = call('GET', p .. 'l:' .. id)
if not doc or is_tombstone(doc) then return {'gone'} end
if ARGV[9] ~= '' then
  local seen = call('HGET', p .. 'a:' .. id, ARGV[9])
  if seen and not is_lapsed(seen) then return {'seen', seen} end
end
if string.match(doc, '^%d+') ~= base then return {'conflict'} end
if ARGV[9] ~= '' then keep_answer(id, ARGV[9], ARGV[10], ARGV[11], ARGV[6]) end
if ARGV[12] ~= '1' then return {'updated'} end

local events = tonumber(ARGV[13])
for i = 14, 13 + events do
  local c = ARGV[i]
  local record = call('HGET', p .. 's:' .. id, c)
  if record or call('ZSCORE', p .. 'd:' .. c, id) then
    if not record or leading_number(record) < tonumber(base) then
      call('HSET', p .. 'v:' .. id, base, string.match(doc, '^%d+ (.*)$'))
    end
  else
    -- The connector is younger than the lead: it is told from this change on.
    call('HSET', p .. 's:' .. id, c, base .. ' {}')
  end
end
call('SET', p .. 'l:' .. id, ARGV[6])
tell(id, string.format('{"t":%s,"r":%d,"o":"update"}', ARGV[2], tonumber(base) + 1))
if ARGV[7] ~= ARGV[8] then
  call('ZREM', p .. 'e:' .. ARGV[7], id)
  call('ZADD', p .. 'e:' .. ARGV[8], 0, id)
end
for i = 14, #ARGV do
  call('ZREM', p .. 'p:' .. ARGV[i], id)
  work(ARGV[i], id)
end
table.insert(woken, 1, 'updated')
return woken
