-- downgrade.lua: make a lease lighter, and hand over what becomes free
-- KEYS[1] leases: {base}:leases (sorted set)
-- KEYS[2] queue: {base}:queue (sorted set)
-- KEYS[3] who: {base}:who (hash)
-- KEYS[4] fence: {base}:fence (string)
-- ARGV[1] owner: whose it is
-- ARGV[2] limit: the weight that may be held at once
-- ARGV[3] weight: what it is to weigh
-- returns 1, or 0 if it has ended
-- @include places.lua
local owner, weight = ARGV[1], tonumber(ARGV[3])
local places = open_places(KEYS[1], KEYS[2], KEYS[3], KEYS[4], tonumber(ARGV[2]))
local facts = places.facts_of(owner)
if not places.holds(owner, facts) then
  return 0
end
places.weigh(weight - facts[WEIGHT])
facts[WEIGHT], facts[STATE] = weight, HOLDS
places.lease(owner, facts)
places.hand_over(true)
return 1
