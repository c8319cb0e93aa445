-- count.lua: how many members score between two bounds
-- KEYS[1] scores: {base}:scores (sorted set)
-- KEYS[2] entries: {base}:entries (hash)
-- ARGV[1] config: the board's configuration
-- ARGV[2] low: the lower bound, as the sorted set has it
-- ARGV[3] high: the upper bound
-- returns how many
-- @include board.lua

local wrong = mismatch(redis.call('HGET', KEYS[2], ''), ARGV[1])
if wrong then return wrong end
return redis.call('ZCOUNT', KEYS[1], ARGV[2], ARGV[3])
