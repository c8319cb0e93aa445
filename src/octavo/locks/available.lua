-- available.lua: how much nobody holds
-- KEYS[1] leases: {base}:leases (sorted set)
-- KEYS[2] queue: {base}:queue (sorted set)
-- KEYS[3] who: {base}:who (hash)
-- ARGV[1] limit: the weight that may be held at once
-- returns limit less what is held
-- @include facts.lua
-- @include places.lua
local limit = tonumber(ARGV[1])
local used = tonumber(redis.call('HGET', KEYS[3], 'limit') or limit)
local places = open_places(KEYS[1], KEYS[2], KEYS[3], used, clock())
if used ~= limit then
  places.serve()
end
local free = places.free()
if used == limit or redis.call('EXISTS', KEYS[1], KEYS[2]) == 0 then
  return free + limit - used
end
return redis.error_reply('MISMATCH limit is ' .. used .. ' while it is used, not ' .. limit)
