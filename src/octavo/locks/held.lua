-- held.lua: whether a lease has not ended
-- KEYS[1] leases: {base}:leases (sorted set)
-- KEYS[2] who: {base}:who (hash)
-- ARGV[1] owner: whose it is
-- returns 1, or 0 if it has ended
-- @include facts.lua
local packed = redis.call('HGET', KEYS[2], ARGV[1])
local facts = packed and cmsgpack.unpack(packed)
return stands(KEYS[1], ARGV[1], facts, clock()) and 1 or 0
