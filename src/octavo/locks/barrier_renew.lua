-- barrier_renew.lua: say that one is still waiting, and see whether the others are
-- KEYS[1] state: {base}:state (string)
-- KEYS[2] leases: {base}:leases (sorted set)
-- ARGV[1] generation: the one waited for
-- ARGV[2] id: who waits
-- ARGV[3] ttl: milliseconds after which who is not heard of any more is dead
-- returns nil if all are waiting; the state if the generation has ended, empty if it is gone
-- @include barrier_state.lua

local barrier = open_barrier(KEYS[1], KEYS[2])
local waits = redis.call('ZSCORE', KEYS[2], ARGV[2])
if not barrier.exists then return '' end

if barrier.generation == ARGV[1] then
  if waits then
    barrier.lend(ARGV[2], ARGV[3])
    barrier.bury_the_dead()
  else
    -- The server has lost it: the others would wait for one more than there are.
    barrier.finish('b')
  end
end
return barrier.generation ~= ARGV[1] and redis.call('GET', KEYS[1])
