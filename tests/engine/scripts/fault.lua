-- fault.lua: count a call, and fail
-- KEYS[1] counter: {prefix}:{name} (string)
-- returns nothing, ever

redis.call('INCR', KEYS[1])
local nothing
return nothing.there
