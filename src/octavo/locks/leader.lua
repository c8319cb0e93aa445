-- leader.lua: who holds the first lease
-- KEYS[1] leases: {base}:leases (sorted set)
-- KEYS[2] queue: {base}:queue (sorted set)
-- KEYS[3] who: {base}:who (hash)
-- KEYS[4] fence: {base}:fence (string)
-- returns {label, fence}, or nothing
-- @include places.lua
local places = open_places(KEYS[1], KEYS[2], KEYS[3], KEYS[4], 1)
local owner = redis.call('ZRANGE', KEYS[1], 0, 0)[1]
-- Read even if nobody leads: who reads it is told when that changes.
local facts = places.facts_of(owner or '')
return facts and places.holds(owner, facts) and { facts[LABEL], facts[FENCE] }
