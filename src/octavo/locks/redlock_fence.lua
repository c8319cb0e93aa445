-- redlock_fence.lua: raise the fence of a lease, and of whatever is granted after it
-- KEYS[1] who: {base}:who (hash)
-- ARGV[1] owner: whose lease it is
-- ARGV[2] newest: the fence that it has from now on, greater than that which it was granted with
-- returns 1, or 0 if the lease has ended
-- @include facts.lua
local facts = facts_of(KEYS[1], ARGV[1])
if not holds(facts, clock()) then
  return 0
end
-- While it holds, nobody was granted anything after it: the last fence is its own.
facts[FENCE] = tonumber(ARGV[2])
redis.call('HSET', KEYS[1], ARGV[1], cmsgpack.pack(facts), 'fence', ARGV[2])
return 1
