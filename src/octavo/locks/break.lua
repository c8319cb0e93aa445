-- break.lua: take a place from everybody who holds one, and hand over to whoever is next
-- KEYS[1] leases: {base}:leases (sorted set)
-- KEYS[2] queue: {base}:queue (sorted set)
-- KEYS[3] who: {base}:who (hash)
-- KEYS[4] fence: {base}:fence (string)
-- ARGV[1] limit: the weight that may be held at once; 0 for the limit in use
-- ARGV[2] fair: 1 if nobody may be overtaken
-- returns how many leases it has ended
-- @include places.lua
local limit = tonumber(ARGV[1])
if limit == 0 then
  limit = tonumber(redis.call('HGET', KEYS[3], 'limit') or 1)
end
local places = open_places(KEYS[1], KEYS[2], KEYS[3], KEYS[4], limit)
local held = 0
for _, owner in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  local facts = places.facts_of(owner)
  held = held + (places.holds(owner, facts) and 1 or 0)
  places.remove(owner, facts)
end
-- The fence moves on, even if nobody waits: whoever still has an old one is behind it.
local last = tonumber(redis.call('GET', KEYS[4]) or 0)
redis.call('SET', KEYS[4], text(math.max(last + 1, places.now)), 'PX', text(REMEMBERED / 1000))
places.hand_over(ARGV[2] == '1')
return held
