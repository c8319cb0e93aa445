-- barrier_waiting.lua: say how many have arrived and are alive
-- KEYS[1] leases: {base}:leases (sorted set)
-- returns how many

local time = redis.call('TIME')
return redis.call('ZCOUNT', KEYS[1], time[1] * 1000 + math.floor(time[2] / 1000), '+inf')
