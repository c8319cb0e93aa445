-- expire.lua: delete a table at some time, or never
-- KEYS[1] scores: {base}:scores (sorted set)
-- KEYS[2] entries: {base}:entries (hash)
-- KEYS[3] ties: {base}:ties (sorted set)
-- KEYS[4] data: {base}:data (hash)
-- ARGV[1] config: the board's configuration
-- ARGV[2] from: PEXPIRE|PEXPIREAT, what the milliseconds count from, or "" for never
-- ARGV[3] milliseconds
-- returns 1, or 0 when there is no table
-- @include board.lua

local wrong = mismatch(redis.call('HGET', KEYS[2], ''), ARGV[1])
if wrong then return wrong end

local function expire(key)
  if ARGV[2] == '' then return redis.call('PERSIST', key) end
  return redis.call(ARGV[2], key, ARGV[3])
end

local found = redis.call('EXISTS', KEYS[2])
expire(KEYS[1])
expire(KEYS[2])
expire(KEYS[3])
expire(KEYS[4])
return found
