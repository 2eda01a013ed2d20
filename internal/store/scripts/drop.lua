-- Forgets a submission. ARGV: 4 id. Answers {'dropped'} or {'gone'}.
return {forget(ARGV[4]) and 'dropped' or 'gone'}
