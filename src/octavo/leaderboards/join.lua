-- join.lua: put a member into the cohort that is being filled, or the next, unless it is in one
-- KEYS[1] members: {base}:members (hash)
-- ARGV[1] member
-- ARGV[2] size: how many members a cohort takes
-- returns the number of its cohort

local found = redis.call('HMGET', KEYS[1], ARGV[1], '')
if found[1] then return tonumber(found[1]) end
local number, filled = string.match(found[2] or '1 0', '^(%d+) (%d+)$')
number, filled = tonumber(number), filled + 1
if filled > tonumber(ARGV[2]) then number, filled = number + 1, 1 end
redis.call('HSET', KEYS[1], ARGV[1], number, '', number .. ' ' .. filled)
return number
