-- Finds work nobody is awake for. ARGV: 4.. connectors. Answers those that are owed a job.
for i = 4, #ARGV do
  if #call('ZRANGEBYSCORE', p .. 'd:' .. ARGV[i], '-inf', now, 'LIMIT', 0, 1) == 1 then wake(ARGV[i]) end
end
return woken
