-- places.lua: who holds, who waits, and how what becomes free goes to whoever is next

-- Microseconds: how long a waiter is believed to wait who does not say so again; how long something
-- is kept for a waiter it was handed to, who does not answer; how long a waiter for a lock that is
-- not fair may be overtaken; how long the last fence is remembered.
local TICKET, CLAIM, PATIENCE, REMEMBERED = 30e6, 2e6, 50e3, 86400e6

-- Where what is known of a holder or waiter stands in its packed facts.
local WEIGHT, TTL, DELAY, HOLD, FENCE, SINCE, ADDRESS, LABEL, STATE = 1, 2, 3, 4, 5, 6, 7, 8, 9
-- GONE gave up before it was heard of. HANDED was given what it waited for, and has not answered.
-- KEPT was released before its `min_hold`.
local GONE, WAITS, HOLDS, HANDED, KEPT = -1, 0, 1, 2, 3

local function text(number)
  return string.format('%.0f', number)
end

local function open_places(leases, queue, who, fence, limit)
  local time = redis.call('TIME')
  local now = time[1] * 1000000 + time[2]
  local places = { now = now }

  -- Has a key stay until then, at least.
  local function keep(key, at)
    local ms = math.ceil(at / 1000)
    if redis.call('PEXPIRETIME', key) < ms then
      redis.call('PEXPIREAT', key, text(ms))
    end
  end

  local function note(owner, facts, stays)
    redis.call('HSET', who, owner, cmsgpack.pack(facts))
    keep(who, stays)
  end

  local function forget(owner)
    redis.call('HDEL', who, owner)
    if limit > 1 and redis.call('EXISTS', leases, queue) == 0 then
      redis.call('HDEL', who, 'limit', 'extra')
    end
  end

  local function leave_queue(owner)
    redis.call('ZREM', queue, owner)
    forget(owner)
  end

  -- Has a lease begin anew, now.
  local function lease(owner, facts)
    local ends = now + facts[TTL] + facts[DELAY]
    if facts[STATE] == HANDED then
      ends = now + math.min(facts[TTL], CLAIM)
    end
    redis.call('ZADD', leases, text(ends), owner)
    keep(leases, ends)
    note(owner, facts, ends)
  end

  local function weigh(weight)
    if weight ~= 0 then
      redis.call('HINCRBY', who, 'extra', text(weight))
    end
  end

  local function give(owner, facts, state)
    local last = tonumber(redis.call('GET', fence) or 0)
    facts[FENCE], facts[SINCE], facts[STATE] = math.max(last + 1, now), now, state
    redis.call('SET', fence, text(facts[FENCE]), 'PX', text(REMEMBERED / 1000))
    lease(owner, facts)
    weigh(facts[WEIGHT] - 1)
  end

  local function remove(owner, facts)
    redis.call('ZREM', leases, owner)
    weigh(facts and 1 - facts[WEIGHT] or 0)
    forget(owner)
  end

  local function tell(facts, owner, what)
    if facts[ADDRESS] ~= '' then
      redis.pcall('SPUBLISH', facts[ADDRESS], owner .. ' ' .. what)
    end
  end

  -- Whether a waiter would hear that it is its turn, as far as the server knows.
  local function hears(facts)
    if now - facts[SINCE] > TICKET then
      return false
    end
    if facts[ADDRESS] == '' then
      return true -- it asks again by itself
    end
    local count = redis.pcall('PUBSUB', 'SHARDNUMSUB', facts[ADDRESS])
    return count.err ~= nil or count[2] > 0
  end

  local function facts_of(owner)
    local packed = redis.call('HGET', who, owner)
    return packed and cmsgpack.unpack(packed)
  end

  -- Ends what has run out.
  local function prune()
    local over = redis.call('ZRANGEBYSCORE', leases, '-inf', text(now))
    for _, owner in ipairs(over) do
      local facts = facts_of(owner)
      remove(owner, facts)
      if facts and facts[STATE] == HANDED and facts[ADDRESS] ~= '' then
        -- A process that does not answer keeps nobody waiting once more. Should it wake, its
        -- waiters come back to where they stood.
        for _, other in ipairs(redis.call('ZRANGE', queue, 0, -1)) do
          local theirs = facts_of(other)
          if not theirs or theirs[ADDRESS] == facts[ADDRESS] then
            leave_queue(other)
          end
        end
      end
    end
  end

  places.facts_of, places.give, places.lease = facts_of, give, lease
  places.remove, places.leave_queue, places.note, places.weigh = remove, leave_queue, note, weigh

  -- Whether somebody's lease has not ended.
  function places.holds(owner, facts)
    if not facts or (facts[STATE] ~= HOLDS and facts[STATE] ~= HANDED) then
      return false
    end
    local ends = redis.call('ZSCORE', leases, owner)
    local delay = facts[STATE] == HOLDS and facts[DELAY] or 0
    return ends and tonumber(ends) - delay > now
  end

  -- How much is free.
  function places.free()
    local first = redis.call('ZRANGE', leases, 0, 0, 'WITHSCORES')
    if first[2] and tonumber(first[2]) <= now then
      prune()
    end
    local extra = limit > 1 and redis.call('HGET', who, 'extra')
    return limit - redis.call('ZCARD', leases) - tonumber(extra or 0)
  end

  -- Microseconds until the first lease ends.
  function places.until_free()
    local first = redis.call('ZRANGE', leases, 0, 0, 'WITHSCORES')
    return first[2] and math.max(tonumber(first[2]) - now, 0) or 0
  end

  -- Has somebody wait, or go on waiting; returns its order in the queue.
  function places.enqueue(owner, facts, order)
    local stands = redis.call('ZSCORE', queue, owner)
    if not stands then
      stands = order
      if order == 0 then
        local last = redis.call('ZRANGE', queue, -1, -1, 'WITHSCORES')
        stands = math.max(now, tonumber(last[2] or 0) + 1)
      end
      redis.call('ZADD', queue, text(stands), owner)
    end
    facts[SINCE], facts[STATE] = now, WAITS
    keep(queue, now + TICKET)
    note(owner, facts, now + TICKET)
    return tonumber(stands)
  end

  -- Gives what is free to those who are next, in turn. Returns whether `me` was among them.
  function places.serve(me)
    local free, served = places.free(), false
    while free > 0 do
      local owner = redis.call('ZRANGE', queue, 0, 0)[1]
      local facts = owner and facts_of(owner)
      if not owner or facts and facts[WEIGHT] > free and (owner == me or hears(facts)) then
        break
      elseif owner == me then
        redis.call('ZREM', queue, owner)
        give(owner, facts, HOLDS)
        free, served = free - facts[WEIGHT], true
      elseif facts and hears(facts) then
        redis.call('ZREM', queue, owner)
        give(owner, facts, HANDED)
        free = free - facts[WEIGHT]
        tell(facts, owner, text(facts[FENCE]))
      else
        leave_queue(owner)
      end
    end
    return served
  end

  -- Wakes whoever is next, to try its luck; one that was patient for long is given the place.
  function places.wake()
    while true do
      local first = redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')
      local owner = first[1]
      local facts = owner and facts_of(owner)
      if not owner then
        return
      elseif not facts or not hears(facts) then
        leave_queue(owner)
      elseif now - tonumber(first[2]) > PATIENCE then
        places.serve()
        return
      else
        tell(facts, owner, '')
        return
      end
    end
  end

  -- Passes on what has become free.
  function places.hand_over(fair)
    if redis.call('EXISTS', queue) == 1 and places.free() > 0 then
      if fair then
        places.serve()
      else
        places.wake()
      end
    end
  end

  return places
end
