-- expire.lua: delete a table at some time, or never
-- KEYS[1] entries: {base}:entries (hash)
-- KEYS[2..] others: {base}:scores|{base}:ties|{base}:data|... (sorted set or hash)
-- ARGV[1] config: the board's configuration
-- ARGV[2] from: PEXPIRE|PEXPIREAT, what the milliseconds count from, or "" for never
-- ARGV[3] milliseconds
-- returns 1, or 0 when there is no table
-- @include board.lua

local wrong = mismatch(redis.call('HGET', KEYS[1], ''), ARGV[1])
if wrong then return wrong end

local found = redis.call('EXISTS', KEYS[1])
for _, key in ipairs(KEYS) do
  if ARGV[2] == '' then
    redis.call('PERSIST', key)
  else
    redis.call(ARGV[2], key, ARGV[3])
  end
end
return found
