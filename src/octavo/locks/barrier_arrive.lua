-- barrier_arrive.lua: arrive; the last one ends the generation
-- KEYS[1] state: {base}:state (string)
-- KEYS[2] leases: {base}:leases (sorted set)
-- ARGV[1] parties: how many have to arrive
-- ARGV[2] id: who arrives
-- ARGV[3] ttl: milliseconds after which who is not heard of any more is dead
-- returns {generation, how many had arrived before; -1: the barrier is broken}
-- @include barrier_state.lua

local barrier = open_barrier(KEYS[1], KEYS[2])
local wrong = barrier.mismatch(ARGV[1])
if wrong then return wrong end

barrier.bury_the_dead()
if barrier.is_broken() then return { tonumber(barrier.generation), -1 } end

local generation, index = tonumber(barrier.generation), redis.call('ZCARD', KEYS[2])
if barrier.parties == '0' then
  barrier.parties = ARGV[1]
  barrier.save()
end
if index + 1 == tonumber(barrier.parties) then
  barrier.finish('t')
else
  barrier.lend(ARGV[2], ARGV[3])
end
return { generation, index }
