-- silent.lua: count a call, and say nothing
-- KEYS[1] counter: {prefix}:{name} (string)
-- returns nothing

redis.call('INCR', KEYS[1])
