-- latch_count_down.lua: count an id, once, and open the latch when enough have been counted
-- KEYS[1] counted: {base}:counted (hash)
-- KEYS[2] opened: {base}:opened (string)
-- ARGV[1] count: how many have to be counted
-- ARGV[2] id: what is counted
-- returns how many are still to be counted
-- @include latch_state.lua

local counted, opened = KEYS[1], KEYS[2]

local wrong = mismatch(counted, ARGV[1])
if wrong then return wrong end
if is_open(opened) then
  keep(counted)
  keep(opened)
  return 0
end

redis.call('HSET', counted, '', ARGV[1], ARGV[2], '')
local remaining = left(counted, ARGV[1])
if remaining == 0 then
  -- Who is late to look knows by a later time that it has opened, though it was reset since.
  local time = redis.call('TIME')
  local before = math.abs(redis.call('GET', opened) or 0)
  local now = math.max(time[1] * 1000000 + time[2], before + 1)
  redis.call('SET', opened, string.format('%.0f', now))
  keep(opened)
  redis.call('UNLINK', counted)
  redis.call('HSET', counted, '', ARGV[1])
end
keep(counted)
return remaining
