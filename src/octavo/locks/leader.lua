-- leader.lua: who holds the first lease
-- KEYS[1] leases: {base}:leases (sorted set)
-- KEYS[2] who: {base}:who (hash)
-- returns {label, fence}, or nothing
-- @include facts.lua
local owner = redis.call('ZRANGE', KEYS[1], 0, 0)[1]
-- Read even if nobody leads: who reads it is told when that changes.
local facts = facts_of(KEYS[2], owner or '')
return holds(facts, clock()) and { facts[LABEL], facts[FENCE] }
