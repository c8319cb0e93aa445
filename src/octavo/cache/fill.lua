-- fill.lua: store what a factory has made, unless the key has changed since it began
-- KEYS[1] value: {value} (string)
-- KEYS[2..] refresh: {value}:l (string)
--   only for a value that takes the place of one that is there
-- ARGV[1] before: the first bytes of what the key must still hold
-- ARGV[2] lease: what the refresh lease must still hold
-- ARGV[3] entry: what to store
-- ARGV[4] ttl: milliseconds
-- returns 1 if it is stored, also by an earlier run whose reply was lost, else 0
local stands = redis.call('GETRANGE', KEYS[1], 0, #ARGV[1] - 1) == ARGV[1]
local refreshes = #KEYS == 2
local ours = refreshes and redis.call('GET', KEYS[2]) == ARGV[2]
if refreshes and not ours then stands = false end
if stands then redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4]) end
if ours then redis.call('UNLINK', KEYS[2]) end
if not stands then stands = redis.call('GET', KEYS[1]) == ARGV[3] end
return stands and 1 or 0
