-- get.lua: read a key, as the least that a script can do
-- KEYS[1] key: octavo:bench:{name} (string)
-- returns its value, or false when there is none
return redis.call('GET', KEYS[1])
