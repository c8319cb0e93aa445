-- shapes.lua: count a call, and reply with every shape a reply can have
-- KEYS[1] counter: {prefix}:{name} (string)
-- returns the count, then one element of each shape

local count = redis.call('INCR', KEYS[1])
local nested = { 'text', { count, { '' } }, {} }
return { count, false, redis.status_reply('FINE'), 'a\0b\255', nested, -1, 9007199254740992 }
