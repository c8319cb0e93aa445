-- inspect.lua: tell who holds a place and who waits for one, and change nothing
-- KEYS[1] leases: {base}:leases (sorted set)
-- KEYS[2] queue: {base}:queue (sorted set)
-- KEYS[3] who: {base}:who (hash)
-- ARGV[1] waiters: 1 to tell of each who waits, not only how many do
-- returns {limit, microseconds for which what nobody holds is kept, how many wait, who holds, who
--   waits}: {owner, weight, label, since, fence, microseconds left}; of who waits, the first four
-- @include facts.lua
local now = clock()

local kept, holders = 0, {}
local leases = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for i = 1, #leases, 2 do
  local owner, left = leases[i], tonumber(leases[i + 1]) - now
  local facts = facts_of(KEYS[3], owner)
  if not holds(facts, now) then
    kept = math.max(kept, left)
  else
    table.insert(holders, {
      owner, facts[WEIGHT], facts[LABEL], facts[SINCE], facts[FENCE], facts[ENDS] - now,
    })
  end
end

local waiters = {}
local queue = ARGV[1] == '1' and redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES') or {}
for i = 1, #queue, 2 do
  local facts = facts_of(KEYS[3], queue[i])
  if facts then
    table.insert(waiters, { queue[i], facts[WEIGHT], facts[LABEL], tonumber(queue[i + 1]) })
  end
end

local limit = tonumber(redis.call('HGET', KEYS[3], 'limit') or 1)
return { limit, kept, redis.call('ZCARD', KEYS[2]), holders, waiters }
