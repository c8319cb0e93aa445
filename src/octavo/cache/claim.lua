-- claim.lua: take the lease of a key that holds a void entry
-- KEYS[1] value: {value} (string)
-- ARGV[1] head: the first bytes of the void entry
-- ARGV[2] lease: what to put in its place
-- ARGV[3] ttl: milliseconds
-- returns nil if the lease was taken, else what the key holds
local held = redis.call('GET', KEYS[1])
if held and string.sub(held, 1, #ARGV[1]) ~= ARGV[1] then return held end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return false
