-- refuse.lua: count a call, and refuse it
-- KEYS[1] counter: {prefix}:{name} (string)
-- returns an error, always

redis.call('INCR', KEYS[1])
return redis.error_reply('REFUSED as always')
