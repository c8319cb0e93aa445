-- held.lua: whether a lease has not ended
-- KEYS[1] leases: {base}:leases (sorted set)
-- KEYS[2] who: {base}:who (hash)
-- ARGV[1] owner: whose it is
-- returns 1, or 0 if it has ended
-- @include facts.lua
return stands(KEYS[1], ARGV[1], facts_of(KEYS[2], ARGV[1]), clock()) and 1 or 0
