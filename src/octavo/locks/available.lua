-- available.lua: how much nobody holds
-- KEYS[1] leases: {base}:leases (sorted set)
-- KEYS[2] queue: {base}:queue (sorted set)
-- KEYS[3] who: {base}:who (hash)
-- ARGV[1] limit: the weight that may be held at once
-- returns limit less what is held
-- @include facts.lua
-- @include places.lua
local limit = redis.call('HGET', KEYS[3], 'limit')
if limit and tonumber(limit) ~= tonumber(ARGV[1]) then
  return redis.error_reply('MISMATCH limit is ' .. limit .. ' while it is used, not ' .. ARGV[1])
end
return open_places(KEYS[1], KEYS[2], KEYS[3], tonumber(ARGV[1]), clock()).free()
