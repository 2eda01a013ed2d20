-- Makes good a push that went out after its fence was lost: the remote may now hold an older state, or a
-- record of a lead that is deleted. The lead is pushed once more; a lead that is gone comes back as a
-- tombstone, for this connector alone. ARGV: 4 connector, 5 id, 6 sync record, 7 revision, 8 the ref the late
-- push left, or '', 9 '1' for an event connector: where the lead is still there, nothing older can hide what it was
-- told since. Answers woken.
local c, id = ARGV[4], ARGV[5]
local doc = call('GET', p .. 'l:' .. id)
if ARGV[9] == '1' and doc and not is_tombstone(doc) then return {} end
if not doc then
  call('SET', p .. 'l:' .. id, (tonumber(ARGV[7]) + 1) .. ' D ' .. ARGV[2] .. ' reopened')
  call('HSET', p .. 's:' .. id, c, '0 ' .. string.match(ARGV[6], '^%d+ (.*)$'))
else
  local wanted = leading_number(doc)
  local record = call('HGET', p .. 's:' .. id, c) or ARGV[6]
  local text = string.match(record, '^%d+ (.*)$')
  local known = cjson.decode(text)
  -- The late push may have left a record without telling its ref, under the key that it used, or a second one. What is
  -- not this lead's any more is taken away with the next push.
  local late = cjson.decode(string.match(ARGV[6], '^%d+ (.*)$'))
  if late.s then known.s, known.l = true, nil end
  local left = late.k or {}
  left[#left + 1] = ARGV[8]
  for _, key in ipairs(left) do
    local is_known = key == '' or key == known.r
    for _, tried in ipairs(known.k or {}) do is_known = is_known or tried == key end
    if not is_known then
      known.k = known.k or {}
      known.k[#known.k + 1] = key
    end
  end
  if next(known) then text = cjson.encode(known) end -- one without members would become a list in-process
  call('HSET', p .. 's:' .. id, c, math.min(leading_number(record), wanted - 1) .. ' ' .. text)
end
-- Whoever is pushing it now may be overtaken by that late write, so its outcome must not count either.
call('HDEL', p .. 'f:' .. c, id)
work(c, id)
call('ZADD', p .. 'd:' .. c, now - skew, id)
return woken
