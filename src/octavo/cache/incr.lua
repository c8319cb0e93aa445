-- incr.lua: add to a plain integer; the one who creates it gives it its time to live
-- KEYS[1] value: {value} (string)
-- ARGV[1] by: an integer
-- ARGV[2] ttl: milliseconds
-- ARGV[3] void: the first bytes of an entry that is void; empty for no such
-- returns {1, the sum as text}, or {0, the head and the tags of an entry in its place}
-- @include entry.lua
local kind, head = look(KEYS[1])
if kind == 'entry' and not is(head, ARGV[3]) then return {0, head} end
if kind ~= 'plain' then redis.call('UNLINK', KEYS[1]) end
local reply = redis.pcall('INCRBY', KEYS[1], ARGV[1])
if type(reply) == 'table' then
  return redis.error_reply('PRECISION the sum does not fit in 64 bits, or the key holds no integer')
end
if redis.call('PTTL', KEYS[1]) < 0 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return {1, redis.call('GET', KEYS[1])}
