-- barrier_state.lua: what the state of a barrier says, and how a generation ends

-- Milliseconds for which a barrier that nobody uses is kept.
local IDLE = 86400000
-- Generations whose ends are remembered, for those who are late to look.
local PAST = 100

-- The state is "<parties> <generation> <the ends of those before, the last one last>". An end is
-- "t": all had arrived; "b": it broke, and the barrier is broken still; "r": it broke, once.
local function open_barrier(state, leases)
  local stored = redis.call('GET', state)
  local time = redis.call('TIME')
  local it = { exists = stored, now = time[1] * 1000 + math.floor(time[2] / 1000) }
  it.parties, it.generation, it.past = string.match(stored or '0 0 ', '^(%d+) (%d+) (%a*)$')

  -- Parties of 0 are as many as who comes next says.
  function it.mismatch(parties)
    if it.parties == '0' or it.parties == parties then return false end
    local what = 'the barrier was made with parties=' .. it.parties .. ', not with parties='
    return redis.error_reply('MISMATCH ' .. what .. parties)
  end

  function it.is_broken()
    return string.sub(it.past, -1) == 'b'
  end

  function it.save()
    local text = it.parties .. ' ' .. it.generation .. ' ' .. it.past
    redis.call('SET', state, text, 'PX', IDLE)
    return text
  end

  function it.finish(how)
    it.generation = string.format('%.0f', it.generation + 1)
    it.past = string.sub(it.past .. how, -PAST)
    it.save()
    redis.call('UNLINK', leases)
  end

  -- Ends the generation if one of those who have arrived has died since.
  function it.bury_the_dead()
    local alive = redis.call('ZCOUNT', leases, it.now, '+inf')
    if redis.call('ZCARD', leases) > alive then
      -- With nobody left who could be told, whoever comes next begins anew.
      it.finish(alive > 0 and 'b' or 'r')
    end
  end

  function it.lend(id, ttl)
    redis.call('ZADD', leases, it.now + ttl, id)
    redis.call('PEXPIRE', leases, IDLE)
    -- Seldom: it wakes all who wait.
    if redis.call('PTTL', state) < IDLE / 2 then redis.call('PEXPIRE', state, IDLE) end
  end

  return it
end
