-- facts.lua: what is known of a holder or waiter, and how a lease begins

-- Where it stands in what is packed of it.
local WEIGHT, TTL, DELAY, HOLD, FENCE = 1, 2, 3, 4, 5
local SINCE, ADDRESS, LABEL, STATE, ENDS = 6, 7, 8, 9, 10
-- HANDED was given what it waited for, and has not answered; KEPT was released before `min_hold`.
local WAITS, HOLDS, HANDED, KEPT = 0, 1, 2, 3
-- Microseconds for which something is kept for a waiter it was handed to; for which it is known who
-- gave up before being heard of; an hour.
local CLAIM, GONE_FOR, HOUR = 2e6, 60e6, 3600e6
-- Milliseconds for which all keys stay: longer than the longest ttl and the longest delay together.
-- None goes before the others: what one of them says of the dead is removed by what another says.
local STAYS = 50 * 3600e3

local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

local function text(number)
  return string.format('%.0f', number)
end

local function facts_of(who, owner)
  local packed = redis.call('HGET', who, owner)
  return packed and cmsgpack.unpack(packed)
end

-- Whether its lease has not ended.
local function holds(facts, now)
  return facts and (facts[STATE] == HOLDS or facts[STATE] == HANDED) and facts[ENDS] > now
end

-- The same, though what is known of it and the lease may have gone one without the other.
local function stands(leases, owner, facts, now)
  return holds(facts, now) and redis.call('ZSCORE', leases, owner)
end

-- Has a lease begin now. With the last fence (or false), it is a new one, with a fence of its own.
local function begin(leases, who, limit, now, owner, facts, last)
  local ends = now + (facts[STATE] == HANDED and math.min(facts[TTL], CLAIM) or facts[TTL])
  local free_at = ends + (facts[STATE] == HOLDS and facts[DELAY] or 0)
  facts[ENDS] = ends
  redis.call('ZADD', leases, free_at, owner)
  redis.call('PEXPIRE', leases, STAYS)
  if last == nil then
    redis.call('HSET', who, owner, cmsgpack.pack(facts))
    redis.call('PEXPIRE', who, STAYS)
    return
  end
  last = tonumber(last or 0)
  facts[FENCE], facts[SINCE] = math.max(last + 1, now), now
  redis.call('HSET', who, owner, cmsgpack.pack(facts), 'fence', text(facts[FENCE]), 'limit', limit)
  if facts[WEIGHT] > 1 then
    redis.call('HINCRBY', who, 'extra', facts[WEIGHT] - 1)
  end
  -- Once an hour is enough.
  if math.floor(now / HOUR) ~= math.floor(last / HOUR) then
    redis.call('PEXPIRE', who, STAYS)
  end
end
