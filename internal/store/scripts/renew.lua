-- Prolongs fences. ARGV: 4 connector, 5 until when, then pairs of id and token. Answers the ids whose fence
-- was lost.
local c = ARGV[4]
local lost = {}
for i = 6, #ARGV, 2 do
  if held_since(c, ARGV[i], ARGV[i + 1]) then
    call('ZADD', p .. 'd:' .. c, 'XX', ARGV[5], ARGV[i])
  else
    lost[#lost + 1] = ARGV[i]
  end
end
call('HSET', p .. 'w', c, awake)
return lost
