-- annotate.lua: replace or forget the data of a member that is on the board
-- KEYS[1] scores: {base}:scores (sorted set)
-- KEYS[2] entries: {base}:entries (hash)
-- KEYS[3] data: {base}:data (hash)
-- ARGV[1] config: the board's configuration
-- ARGV[2] prefix: how many bytes of a key stand before the member
-- ARGV[3] member
-- ARGV[4] data: the payload, or "" to forget it
-- returns 1, or 0 when the member is not on the board
-- @include board.lua

local wrong = mismatch(redis.call('HGET', KEYS[2], ''), ARGV[1])
if wrong then return wrong end

local member, prefix = ARGV[3], ''
if ARGV[2] ~= '0' then prefix = redis.call('HGET', KEYS[2], member) end
if not (prefix and redis.call('ZSCORE', KEYS[1], prefix .. member)) then return 0 end
if ARGV[4] == '' then
  redis.call('HDEL', KEYS[3], member)
else
  redis.call('HSET', KEYS[3], member, ARGV[4])
  local expires = redis.call('HLEN', KEYS[3]) == 1 and expires_at(KEYS[2])
  if expires then redis.call('PEXPIREAT', KEYS[3], expires) end
end
return 1
