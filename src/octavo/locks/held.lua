-- held.lua: whether a lease has not ended
-- KEYS[1] leases: {base}:leases (sorted set)
-- KEYS[2] queue: {base}:queue (sorted set)
-- KEYS[3] who: {base}:who (hash)
-- KEYS[4] fence: {base}:fence (string)
-- ARGV[1] owner: whose it is
-- returns 1, or 0 if it has ended
-- @include places.lua
local places = open_places(KEYS[1], KEYS[2], KEYS[3], KEYS[4], 1)
return places.holds(ARGV[1], places.facts_of(ARGV[1])) and 1 or 0
