-- acquire.lua: give a place to somebody, or have them wait for it
-- KEYS[1] leases: {base}:leases (sorted set)
-- KEYS[2] queue: {base}:queue (sorted set)
-- KEYS[3] who: {base}:who (hash)
-- KEYS[4] fence: {base}:fence (string)
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
-- returns {1, fence}; or {0, order, how many stand before, microseconds until a lease ends};
--   or {-1} if it has given up
-- @include places.lua
local owner, limit, weight = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local fair, waits = ARGV[7] == '1', ARGV[9] == '1'
local queue, who = KEYS[2], KEYS[3]

local known = redis.call('HMGET', who, owner, 'limit')
if known[2] and tonumber(known[2]) ~= limit then
  return redis.error_reply('MISMATCH limit is ' .. known[2] .. ' while it is used, not ' .. limit)
end
local mine = known[1] and cmsgpack.unpack(known[1])
if mine and mine[STATE] == GONE then
  return { -1 }
end

local places = open_places(KEYS[1], queue, who, KEYS[4], limit)
if places.holds(owner, mine) then
  -- Asked again, or it was handed over.
  mine[STATE] = HOLDS
  places.lease(owner, mine)
  return { 1, mine[FENCE] }
end

local facts = {
  weight, tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), 0, 0, ARGV[11], ARGV[8], WAITS,
}
local free, waited = places.free(), mine and mine[STATE] == WAITS
local taken, order = false, 0
if fair and redis.call('EXISTS', queue) == 1 then
  if waits then
    order = places.enqueue(owner, facts, tonumber(ARGV[10]))
  end
  taken = places.serve(owner)
  if taken then
    facts = places.facts_of(owner)
  elseif not waits and not waited then
    free = redis.call('EXISTS', queue) == 0 and places.free() or 0
  else
    free = 0
  end
end
if not taken and weight <= free then
  redis.call('ZREM', queue, owner)
  places.give(owner, facts, HOLDS)
  taken = true
end
if not taken and waits and order == 0 then
  order = places.enqueue(owner, facts, tonumber(ARGV[10]))
end
if limit > 1 and (taken or waits) and not known[2] then
  redis.call('HSET', who, 'limit', ARGV[2])
end
if taken then
  return { 1, facts[FENCE] }
end
if waits then
  return { 0, order, redis.call('ZRANK', queue, owner), places.until_free() }
end
if waited then
  places.leave_queue(owner)
  places.hand_over(fair)
end
return { 0, 0, 0, places.until_free() }
