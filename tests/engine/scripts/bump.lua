-- bump.lua: add to a counter
-- KEYS[1] counter: {prefix}:{name} (string)
-- ARGV[1] by: what to add, an integer
-- returns the sum

return redis.call('INCRBY', KEYS[1], ARGV[1])
