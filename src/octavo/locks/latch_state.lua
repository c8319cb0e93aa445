-- latch_state.lua: whether a latch is another one, whether it is open, and how much is left

-- Milliseconds for which a latch that nobody counts down is kept.
local IDLE = 86400000

local function keep(key)
  redis.call('PEXPIRE', key, IDLE)
end

local function mismatch(counted, count)
  local stored = redis.call('HGET', counted, '') or count
  if stored == count then return false end
  local what = 'the latch was made with count=' .. stored .. ', not with count=' .. count
  return redis.error_reply('MISMATCH ' .. what)
end

local function is_open(opened)
  return tonumber(redis.call('GET', opened) or 0) > 0
end

local function left(counted, count)
  return count - math.max(redis.call('HLEN', counted) - 1, 0)
end
