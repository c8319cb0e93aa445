-- comes_back.lua: count a call, and refuse it as a server refuses what it has not executed
-- KEYS[1] counter: {prefix}:{name} (string)
-- ARGV[1] code: the first word of the error
-- returns an error, always

redis.call('INCR', KEYS[1])
return redis.error_reply(ARGV[1] .. ' as always')
