-- downgrade.lua: make a lease lighter, and hand over what becomes free
-- KEYS[1] leases: {base}:leases (sorted set)
-- KEYS[2] queue: {base}:queue (sorted set)
-- KEYS[3] who: {base}:who (hash)
-- ARGV[1] owner: whose it is
-- ARGV[2] weight: what it is to weigh
-- returns 1, or 0 if it has ended
-- @include facts.lua
-- @include places.lua
local owner, weight, now = ARGV[1], tonumber(ARGV[2]), clock()
local limit = tonumber(redis.call('HGET', KEYS[3], 'limit') or 1)
local places = open_places(KEYS[1], KEYS[2], KEYS[3], limit, now)
local facts = facts_of(KEYS[3], owner)
if not stands(KEYS[1], owner, facts, now) then
  return 0
end
places.weigh(weight - facts[WEIGHT])
facts[WEIGHT], facts[STATE] = weight, HOLDS
redis.call('HSET', KEYS[3], owner, cmsgpack.pack(facts))
places.hand_over(true)
return 1
