-- twice.lua: add a number twice
-- KEYS[1] counter: {prefix}:{name} (string)
-- ARGV[1] by: what to add, an integer
-- returns the sum
-- @include shared.lua

return redis.call('INCRBY', KEYS[1], twice(ARGV[1]))
