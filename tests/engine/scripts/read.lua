-- read.lua: read a string
-- KEYS[1] value: {prefix}:{name} (string)
-- returns the value, or false

return redis.call('GET', KEYS[1])
