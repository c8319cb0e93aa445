-- break.lua: take a place from everybody who holds one, and hand over to whoever is next
-- KEYS[1] leases: {base}:leases (sorted set)
-- KEYS[2] queue: {base}:queue (sorted set)
-- KEYS[3] who: {base}:who (hash)
-- ARGV[1] fair: 1 if nobody may be overtaken
-- returns how many leases it has ended
-- @include facts.lua
-- @include places.lua
local limit, now = tonumber(redis.call('HGET', KEYS[3], 'limit') or 1), clock()
local places = open_places(KEYS[1], KEYS[2], KEYS[3], limit, now)
local held = 0
for _, owner in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  local facts = facts_of(KEYS[3], owner)
  held = held + (holds(facts, now) and 1 or 0)
  places.remove(owner, facts)
end
-- The fence moves on, even if nobody waits: whoever still has an old one is behind it.
local last = tonumber(redis.call('HGET', KEYS[3], 'fence') or 0)
redis.call('HSET', KEYS[3], 'fence', text(math.max(last + 1, now)))
redis.call('PEXPIRE', KEYS[3], STAYS)
places.hand_over(ARGV[1] == '1')
return held
