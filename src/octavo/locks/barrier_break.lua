-- barrier_break.lua: break a barrier, if one who gives up is waited for
-- KEYS[1] state: {base}:state (string)
-- KEYS[2] leases: {base}:leases (sorted set)
-- ARGV[1] parties: how many have to arrive
-- ARGV[2] id: who gives up; empty for one who breaks it in any case
-- returns the state
-- @include barrier_state.lua

local barrier = open_barrier(KEYS[1], KEYS[2])
local wrong = barrier.mismatch(ARGV[1])
if wrong then return wrong end

local waited_for = ARGV[2] == '' or redis.call('ZSCORE', KEYS[2], ARGV[2])
if waited_for and not barrier.is_broken() then
  barrier.parties = ARGV[1]
  barrier.finish('b')
end
return redis.call('GET', KEYS[1])
