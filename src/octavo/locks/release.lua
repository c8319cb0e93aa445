-- release.lua: end a lease, or somebody's waiting, and hand over to whoever is next
-- KEYS[1] leases: {base}:leases (sorted set)
-- KEYS[2] queue: {base}:queue (sorted set)
-- KEYS[3] who: {base}:who (hash)
-- KEYS[4] fence: {base}:fence (string)
-- ARGV[1] owner: whose it is
-- ARGV[2] limit: the weight that may be held at once
-- ARGV[3] fair: 1 if nobody may be overtaken
-- ARGV[4] gives_up: 1 for one who does not know whether it holds, waits or neither
-- returns 1 if it held the lease until now, or else 0
-- @include places.lua
local owner, gives_up = ARGV[1], ARGV[4] == '1'
local places = open_places(KEYS[1], KEYS[2], KEYS[3], KEYS[4], tonumber(ARGV[2]))
local facts = places.facts_of(owner)
local held = places.holds(owner, facts)
if held and facts[SINCE] + facts[HOLD] > places.now and not gives_up then
  facts[STATE], facts[DELAY] = KEPT, 0
  facts[TTL] = facts[SINCE] + facts[HOLD] - places.now
  places.lease(owner, facts)
  return 1
elseif held then
  places.remove(owner, facts)
elseif facts and facts[STATE] == WAITS then
  places.leave_queue(owner)
elseif not facts and gives_up then
  -- What it has sent may still be on its way: it is not to be given anything.
  places.note(owner, { 0, 0, 0, 0, 0, places.now, '', '', GONE }, places.now + 60e6)
end
places.hand_over(ARGV[3] == '1')
return held and 1 or 0
