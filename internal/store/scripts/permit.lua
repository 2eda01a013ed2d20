-- Asks leave to call under a vendor's limits: all that is asked for is granted, or nothing is spent.
-- KEYS: 1 zset of calls in flight by when they no longer count, 2 until when nobody calls, then one for each rate.
-- ARGV: 1 now, 2 a token, 3 how many calls may be in flight, or 0 where this does not count among them, 4 until when the
-- call is in flight if it is never handed back, 5 how many ms calls take at least, or '' where nobody will say that this
-- one is over, then for each rate: how much may be spent, or 0 where it does not bind; its window in ms; what is spent
-- now; and the width in ms of a slice, or 0 for a log.
-- A log is a zset with a member for each unit that was spent, by when it was: no window, wherever it begins, holds more
-- than may be spent. A call whose unit ends in ~ is not over and may still be on its way: it counts for longer than the
-- window, unless all calls take as long. Slices are a hash, number of the slice of time -> what was spent in it: one
-- counts as long as any part of it is in the window, so that no window holds more either.
-- What was noted for a time to come was noted before the clock was set back: it counts as if it were spent now.
-- Answers 0, or how many ms to wait before asking again.
local call = redis.call
local now, token, most = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local skew = 1000 -- how far another process's clock may be ahead
local longest_log = 1000 -- rates of more are in slices
local longest_way = 10000 -- how many ms a call that is not over counts for longer; its worker may be dead
local again = 20 -- how many ms to wait for a call to be over
local wait = 0

local function in_log(key, most, window, units)
  call('ZREMRANGEBYSCORE', key, '-inf', now - window - longest_way)
  for _, unit in ipairs(call('ZRANGEBYSCORE', key, '-inf', now - window)) do
    if string.sub(unit, -1) ~= '~' then call('ZREM', key, unit) end
  end
  for _, unit in ipairs(call('ZRANGEBYSCORE', key, '(' .. (now + skew), '+inf')) do call('ZADD', key, now, unit) end
  local over = call('ZCARD', key) + units - most
  if most == 0 or units == 0 or over <= 0 then return 0 end
  local free = call('ZRANGE', key, over - 1, over - 1, 'WITHSCORES')[2] + window - now
  if free <= 0 then return again end -- one that is not over
  return free
end

local function in_slices(key, most, window, units, width)
  local first, this, last = math.floor((now - window) / width), math.floor(now / width), math.floor((now + skew) / width)
  local spent = {} -- by how many slices later than the first
  local over, moved = units - most, 0
  for _, name in ipairs(call('HKEYS', key)) do
    local i, n = tonumber(name) - first, tonumber(call('HGET', key, name))
    if i < 0 or i > last - first then call('HDEL', key, name) end
    if i > last - first then
      i, moved = this - first, moved + n
    end
    if i >= 0 then
      spent[i] = (spent[i] or 0) + n
      over = over + n
    end
  end
  if moved > 0 then call('HINCRBY', key, string.format('%d', this), moved) end
  if most == 0 or units == 0 or over <= 0 then return 0 end
  for i = 0, last - first do
    over = over - (spent[i] or 0)
    if over <= 0 then return (first + i + 1) * width + window - now end
  end
  return window
end

local hold = tonumber(call('GET', KEYS[2]) or 0) - now
if hold <= 86400000 + skew then wait = hold end
if most > 0 then
  call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
  call('ZREMRANGEBYSCORE', KEYS[1], '(' .. (now + 60000), '+inf')
  if call('ZCARD', KEYS[1]) >= most then wait = math.max(wait, again) end
end
local rates = {}
for i = 3, #KEYS do
  local at = 6 + 4 * (i - 3)
  local r = {key = KEYS[i], most = tonumber(ARGV[at]), window = tonumber(ARGV[at + 1]), units = tonumber(ARGV[at + 2]), width = tonumber(ARGV[at + 3])}
  if r.width == 0 then
    wait = math.max(wait, in_log(r.key, r.most, r.window, r.units))
  else
    wait = math.max(wait, in_slices(r.key, r.most, r.window, r.units, r.width))
  end
  rates[#rates + 1] = r
end
if wait > 0 then return math.ceil(wait) end

for _, r in ipairs(rates) do
  if r.units > 0 then
    if r.width > 0 then
      call('HINCRBY', r.key, string.format('%d', math.floor(now / r.width)), r.units)
    else
      local way = ''
      if ARGV[5] ~= '' and tonumber(ARGV[5]) < r.window then way = '~' end
      for unit = 1, math.min(r.units, longest_log) do call('ZADD', r.key, now, token .. ':' .. unit .. way) end
      -- Of what does not bind, the newest are enough.
      call('ZREMRANGEBYRANK', r.key, 0, -longest_log - 1)
    end
    call('PEXPIRE', r.key, r.window + r.width + 60000)
  end
end
if most > 0 then
  call('ZADD', KEYS[1], ARGV[4], token)
  call('PEXPIRE', KEYS[1], 600000)
end
return 0
