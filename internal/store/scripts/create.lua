-- Accepts new leads, each by itself. ARGV: 4 where the leads' idempotency keys are kept: 'shard', 'lead', or '' if they
-- have none, 5 how many connectors, 6.. connectors, then of each lead its id, its document, the hash of its address, and
-- with a key its hash, the fingerprint of the request, and for how many seconds a repeat is known.
-- Answers how many were not created, then of each of these its place and what the shard knows of its key, '' when the id
-- is taken, then woken.
local argv, keys, first = ARGV, ARGV[4], 6 + tonumber(ARGV[5])
local step = keys == '' and 3 or 6
local answer, ids, due = {}, {}, {}
local since = string.format('%.0f', now - skew) -- to format it once is quicker
local written = false
if keys == '' then
  -- At once, which is quicker: if one of these ids is taken, all were, by this very command before it was repeated.
  local docs = {}
  for i = first, #argv, step do
    local n = #docs
    docs[n + 1], docs[n + 2] = p .. 'l:' .. argv[i], argv[i + 1]
  end
  written = call('MSETNX', unpack(docs)) == 1
end
for i = first, #argv, step do
  local id, doc, known = argv[i], argv[i + 1], nil
  if keys == 'shard' then known = repeated(argv[i + 3], argv[i + 4], argv[i + 5], id) end
  if not known and not written and (keys == '' or not call('SET', p .. 'l:' .. id, doc, 'NX')) then known = '' end
  if known then
    local n = #answer
    answer[n + 1], answer[n + 2] = tostring((i - first) / step), known
  else
    local n = #ids
    ids[n + 1], ids[n + 2] = '0', id
    due[n + 1], due[n + 2] = since, id
    call('ZADD', p .. 'e:' .. argv[i + 2], '0', id)
    if keys == 'lead' then keep_answer(id, argv[i + 3], argv[i + 4], argv[i + 5], doc) end
  end
end
table.insert(answer, 1, tostring(#answer / 2))
if #ids == 0 then return answer end
call('ZADD', p .. 'ids', unpack(ids))
for i = 6, first - 1 do
  call('ZADD', p .. 'd:' .. argv[i], unpack(due))
  wake(argv[i])
end
for _, c in ipairs(woken) do answer[#answer + 1] = c end
return answer
