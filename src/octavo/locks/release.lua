-- release.lua: end a lease, or somebody's waiting, and hand over to whoever is next
-- KEYS[1] leases: {base}:leases (sorted set)
-- KEYS[2] queue: {base}:queue (sorted set)
-- KEYS[3] who: {base}:who (hash)
-- ARGV[1] owner: whose it is
-- ARGV[2] fair: 1 if nobody may be overtaken
-- ARGV[3] gives_up: 1 for one who does not know whether it holds, waits or neither
-- returns 1 if it held the lease until now, or else 0
-- @include facts.lua
local leases, queue, who = KEYS[1], KEYS[2], KEYS[3]
local owner, gives_up, now = ARGV[1], ARGV[3] == '1', clock()
local known = redis.call('HMGET', who, owner, 'limit')
local facts, limit = known[1] and cmsgpack.unpack(known[1]), tonumber(known[2] or 1)
local held = holds(facts, now)
-- The clock may have been set back since: that keeps nothing longer than asked for.
local left = held and not gives_up and math.min(facts[SINCE] + facts[HOLD] - now, facts[HOLD]) or 0
local early = left > 0
if held and limit == 1 and not early and redis.call('EXISTS', queue) == 0 then
  -- Nobody waits: most often. The rest is not even defined then.
  redis.call('HDEL', who, owner)
  return redis.call('ZREM', leases, owner)
end

-- @include places.lua
-- How many are remembered who gave up before they were heard of.
local MOST_GONE = 100
held = stands(leases, owner, facts, now)
local places = open_places(leases, queue, who, limit, now)
if early and held then
  facts[STATE], facts[TTL] = KEPT, left
  begin(leases, who, limit, now, owner, facts)
elseif held then
  places.remove(owner, facts)
elseif facts and facts[STATE] == WAITS then
  places.leave_queue(owner)
elseif not facts and gives_up then
  -- What it has sent may still be on its way: it is not to be given anything.
  local noted, gone = redis.call('HGET', who, 'gone'), { { owner, now } }
  for _, other in ipairs(noted and cmsgpack.unpack(noted) or {}) do
    if #gone < MOST_GONE and now - other[2] < GONE_FOR then
      table.insert(gone, other)
    end
  end
  redis.call('HSET', who, 'gone', cmsgpack.pack(gone))
  redis.call('PEXPIRE', who, STAYS)
end
places.hand_over(ARGV[2] == '1')
return held and 1 or 0
