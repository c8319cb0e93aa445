-- barrier_reset.lua: make a barrier what it was at first, breaking it for those who wait
-- KEYS[1] state: {base}:state (string)
-- KEYS[2] leases: {base}:leases (sorted set)
-- returns 1 if there was one, else 0
-- @include barrier_state.lua

local barrier = open_barrier(KEYS[1], KEYS[2])
local waiting = redis.call('ZCARD', KEYS[2])
if not barrier.exists then return 0 end
barrier.parties = '0'
if barrier.is_broken() then
  barrier.past = string.sub(barrier.past, 1, -2) .. 'r'
  barrier.save()
elseif waiting > 0 then
  barrier.finish('r')
else
  barrier.save()
end
return 1
