-- Shared by the scripts of submissions, after the prelude.

-- enter lists submission id among those of its origin in a state.
local function enter(id, state, origin)
  if call('ZADD', p .. 'i:' .. state .. ':' .. origin, 0, id) == 1 then
    call('HINCRBY', p .. 'inbox', state .. ' ' .. origin, 1)
  end
end

local function leave(id, state, origin)
  if call('ZREM', p .. 'i:' .. state .. ':' .. origin, id) == 1 then
    local group = state .. ' ' .. origin
    if call('HINCRBY', p .. 'inbox', group, -1) <= 0 then call('HDEL', p .. 'inbox', group) end
  end
end

-- forget removes a submission. It returns whether there was one.
local function forget(id)
  local was = call('HMGET', p .. 'q:' .. id, 's', 'o')
  if not was[1] then return false end
  leave(id, was[1], was[2])
  call('ZREM', p .. 'fetches', id)
  call('DEL', p .. 'q:' .. id)
  return true
end
