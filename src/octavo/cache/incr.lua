-- incr.lua: add to a plain integer; the one who creates it gives it its time to live
-- KEYS[1] value: {value} (string)
-- ARGV[1] by: an integer
-- ARGV[2] ttl: milliseconds
-- returns the sum as text
local kind = redis.call('GETRANGE', KEYS[1], 0, 0)
if kind == '\2' or kind == '\3' then
  return redis.error_reply('WRONGTYPE the key holds no plain integer')
end
if kind == '\0' then redis.call('UNLINK', KEYS[1]) end
local reply = redis.pcall('INCRBY', KEYS[1], ARGV[1])
if type(reply) == 'table' then
  return redis.error_reply('PRECISION the sum does not fit in 64 bits, or the key holds no integer')
end
if redis.call('PTTL', KEYS[1]) < 0 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return redis.call('GET', KEYS[1])
