-- holds.lua: whether a string holds a value
-- KEYS[1] string: {prefix}:{name} (string)
-- ARGV[1] value: what it must hold
-- returns 1 if it does, else 0

return redis.call('GET', KEYS[1]) == ARGV[1] and 1 or 0
