-- proclaim.lua: have a holder be shown under another label
-- KEYS[1] leases: {base}:leases (sorted set)
-- KEYS[2] queue: {base}:queue (sorted set)
-- KEYS[3] who: {base}:who (hash)
-- KEYS[4] fence: {base}:fence (string)
-- ARGV[1] owner: whose lease it is
-- ARGV[2] label: what to show
-- returns 1, or 0 if the lease has ended
-- @include places.lua
local owner = ARGV[1]
local places = open_places(KEYS[1], KEYS[2], KEYS[3], KEYS[4], 1)
local facts = places.facts_of(owner)
if not places.holds(owner, facts) then
  return 0
end
facts[LABEL], facts[STATE] = ARGV[2], HOLDS
places.lease(owner, facts)
return 1
