-- leave.lua: take a member out of a cohort, if it is in that one
-- KEYS[1] members: {base}:members (hash)
-- ARGV[1] member
-- ARGV[2] cohort: the number
-- returns the number of the cohort it was, or still is in; 0 for none

local found = redis.call('HMGET', KEYS[1], ARGV[1], '')
if not found[1] then return 0 end
if found[1] == ARGV[2] then
  local number, filled = string.match(found[2], '^(%d+) (%d+)$')
  redis.call('HDEL', KEYS[1], ARGV[1])
  if found[1] == number then redis.call('HSET', KEYS[1], '', number .. ' ' .. filled - 1) end
end
return tonumber(found[1])
