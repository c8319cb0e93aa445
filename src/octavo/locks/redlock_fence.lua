-- redlock_fence.lua: raise the fence of a lease, and of whatever is granted after it
-- KEYS[1] who: {base}:who (hash)
-- ARGV[1] owner: whose lease it is
-- ARGV[2] newest: the fence that it has from now on
-- returns 1, or 0 if the lease has ended
-- @include facts.lua
local owner, newest = ARGV[1], tonumber(ARGV[2])
local known = redis.call('HMGET', KEYS[1], owner, 'fence')
local facts = known[1] and cmsgpack.unpack(known[1])
if not holds(facts, clock()) then
  return 0
end
facts[FENCE] = newest
redis.call('HSET', KEYS[1], owner, cmsgpack.pack(facts))
if tonumber(known[2] or 0) < newest then
  redis.call('HSET', KEYS[1], 'fence', ARGV[2])
end
return 1
