-- acquire.lua: give a place to somebody, or have them wait for it
-- KEYS[1] leases: {base}:leases (sorted set)
-- KEYS[2] queue: {base}:queue (sorted set)
-- KEYS[3] who: {base}:who (hash)
-- ARGV[1] owner: who asks
-- ARGV[2] limit: the weight that may be held at once
-- ARGV[3] weight: what is asked for
-- ARGV[4] ttl: of the lease, in microseconds
-- ARGV[5] delay: microseconds for which nobody gets what was not released
-- ARGV[6] hold: microseconds for which it is held at least
-- ARGV[7] fair: 1 if nobody may be overtaken
-- ARGV[8] label: what to show of who asks
-- ARGV[9] waits: 1 to wait
-- ARGV[10] order: where it stood in the queue; 0 for the end
-- ARGV[11] address: the channel on which it is told of its turn; empty if it will ask
-- returns {1, fence}; or {0, order, how many stand before, microseconds until a lease ends, the
--   time of this question}; or {-1} if it has given up
-- @include facts.lua
local leases, queue, who = KEYS[1], KEYS[2], KEYS[3]
local owner, limit, now = ARGV[1], tonumber(ARGV[2]), clock()
local facts = {
  tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]),
  0, now, ARGV[11], ARGV[8], HOLDS, 0,
}
local known = redis.call('HMGET', who, owner, 'fence', 'limit', 'gone')
if known[4] then
  local newest
  for _, gone in ipairs(cmsgpack.unpack(known[4])) do
    if gone[1] == owner then
      return { -1 }
    end
    newest = newest or gone[2]
  end
  if now - newest > GONE_FOR then
    redis.call('HDEL', who, 'gone')
  end
end
if not known[1] and redis.call('EXISTS', leases, queue) == 0 then
  -- Nobody holds any of it, nobody waits: most often. The rest is not even defined then.
  if limit > 1 then
    redis.call('HDEL', who, 'extra')
  end
  begin(leases, who, limit, now, owner, facts, known[2])
  return { 1, facts[FENCE] }
end

-- @include places.lua
local fair, waits, order = ARGV[7] == '1', ARGV[9] == '1', tonumber(ARGV[10])
local mine = known[1] and cmsgpack.unpack(known[1])
local used = tonumber(known[3] or limit)
if used ~= limit then
  -- It holds for as long as it is used.
  open_places(leases, queue, who, used, now).serve()
  if redis.call('EXISTS', leases, queue) > 0 then
    return redis.error_reply('MISMATCH limit is ' .. used .. ' while it is used, not ' .. limit)
  end
end
if stands(leases, owner, mine, now) then
  -- Asked again, or it was handed over.
  mine[STATE] = HOLDS
  begin(leases, who, limit, now, owner, mine)
  return { 1, mine[FENCE] }
end

local places = open_places(leases, queue, who, limit, now)
local waited = mine and mine[STATE] == WAITS
if mine and not waited then
  -- It has a place that has ended, or is only kept, and never knew of it.
  places.remove(owner, mine)
end
local fence
-- What has run out ends first: it may take others of the same process out of the queue.
places.free()
if fair and (waits or waited) then
  order = places.enqueue(owner, facts, order)
  fence = places.serve(owner)
else
  if fair then
    places.serve()
  end
  if facts[WEIGHT] <= places.free() and (not fair or redis.call('EXISTS', queue) == 0) then
    if waited then
      redis.call('ZREM', queue, owner)
    end
    fence = places.give(owner, facts, HOLDS)
  elseif waits then
    order = places.enqueue(owner, facts, order)
  end
end
if fence then
  return { 1, fence }
elseif waits then
  return { 0, order, redis.call('ZRANK', queue, owner), places.until_free(), now }
elseif waited then
  places.leave_queue(owner)
  places.hand_over(fair)
end
return { 0, 0, 0, places.until_free(), now }
