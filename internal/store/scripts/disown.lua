-- Forgets what a connector has of leads. ARGV: 4 connector, 5.. ids. A deleted lead that nobody else has is gone with it.
local c = ARGV[4]
for i = 5, #ARGV do
  local id = ARGV[i]
  call('HDEL', p .. 's:' .. id, c)
  for _, kind in ipairs({'d:', 'b:', 'p:'}) do call('ZREM', p .. kind .. c, id) end
  call('HDEL', p .. 'f:' .. c, id)
  local doc = call('GET', p .. 'l:' .. id)
  if doc and is_tombstone(doc) and call('EXISTS', p .. 's:' .. id) == 0 then call('DEL', p .. 'l:' .. id) end
end
return {}
