-- places.lua: how what becomes free goes to whoever is next; it needs facts.lua

-- Microseconds: how long a waiter is believed to wait who does not say so again; how long a waiter
-- for a lock that is not fair may be overtaken.
local TICKET, PATIENCE = 30e6, 5e3

local function open_places(leases, queue, who, limit, now)
  local places = {}

  local function weigh(weight)
    if weight ~= 0 then
      redis.call('HINCRBY', who, 'extra', weight)
    end
  end

  local function give(owner, facts, state)
    facts[STATE] = state
    begin(leases, who, limit, now, owner, facts, redis.call('HGET', who, 'fence'))
    return facts[FENCE]
  end

  local function leave_queue(owner)
    redis.call('ZREM', queue, owner)
    redis.call('HDEL', who, owner)
  end

  local function remove(owner, facts)
    redis.call('ZREM', leases, owner)
    weigh(facts and 1 - facts[WEIGHT] or 0)
    redis.call('HDEL', who, owner)
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

  -- Ends what has run out.
  local function prune()
    local silent
    for _, owner in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', now)) do
      local facts = facts_of(who, owner)
      remove(owner, facts)
      if facts and facts[STATE] == HANDED and facts[ADDRESS] ~= '' then
        silent = silent or {}
        silent[facts[ADDRESS]] = true
      end
    end
    -- A process that does not answer keeps nobody waiting once more. Should it wake, its waiters
    -- come back to where they stood.
    for _, owner in ipairs(silent and redis.call('ZRANGE', queue, 0, -1) or {}) do
      local facts = facts_of(who, owner)
      if not facts or silent[facts[ADDRESS]] then
        leave_queue(owner)
      end
    end
  end

  places.give, places.remove = give, remove
  places.leave_queue, places.weigh = leave_queue, weigh

  -- How much is free.
  function places.free()
    local first = redis.call('ZRANGE', leases, 0, 0, 'WITHSCORES')
    if first[1] and tonumber(first[2]) <= now then
      prune()
    elseif not first[1] and limit > 1 then
      redis.call('HDEL', who, 'extra')
    end
    local extra = limit > 1 and redis.call('HGET', who, 'extra')
    return limit - redis.call('ZCARD', leases) - tonumber(extra or 0)
  end

  -- Microseconds until the first place is free.
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
      redis.call('ZADD', queue, stands, owner)
    end
    facts[SINCE], facts[STATE] = now, WAITS
    redis.call('PEXPIRE', queue, STAYS)
    redis.call('HSET', who, owner, cmsgpack.pack(facts))
    redis.call('PEXPIRE', who, STAYS)
    return tonumber(stands)
  end

  -- Gives what is free to those who are next, in turn. Returns the fence of `me`, if it got one.
  function places.serve(me)
    local free, mine = places.free()
    while free > 0 do
      local owner = redis.call('ZRANGE', queue, 0, 0)[1]
      local facts = owner and facts_of(who, owner)
      if not owner or facts and facts[WEIGHT] > free and (owner == me or hears(facts)) then
        break
      elseif owner == me then
        redis.call('ZREM', queue, owner)
        mine = give(owner, facts, HOLDS)
        free = free - facts[WEIGHT]
      elseif facts and hears(facts) then
        redis.call('ZREM', queue, owner)
        -- With the time of the question that it answers: the letter may be late.
        local asked = text(facts[SINCE])
        tell(facts, owner, text(give(owner, facts, HANDED)) .. ' ' .. asked)
        free = free - facts[WEIGHT]
      else
        leave_queue(owner)
      end
    end
    return mine
  end

  -- Wakes whoever is next, to try its luck; one that was patient for long is given the place.
  function places.wake()
    while true do
      local first = redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')
      local owner = first[1]
      local facts = owner and facts_of(who, owner)
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
