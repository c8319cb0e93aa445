-- held.lua: whether a lease has not ended
-- KEYS[1] who: {base}:who (hash)
-- ARGV[1] owner: whose it is
-- returns 1, or 0 if it has ended
-- @include facts.lua
local packed = redis.call('HGET', KEYS[1], ARGV[1])
return holds(packed and cmsgpack.unpack(packed), clock()) and 1 or 0
