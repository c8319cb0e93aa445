-- renew.lua: have places last for another lease
-- KEYS[1] places: {base}:leases:{rule} (sorted set)
-- ARGV[1] lease: microseconds
-- ARGV[2] holder: names the places taken
-- ARGV[3] count: how many
-- returns 1 if all were still held, else 0
local time = redis.call('TIME')
local now = time[1] * 1e6 + time[2]
for place = 1, tonumber(ARGV[3]) do
  local ends = redis.call('ZSCORE', KEYS[1], ARGV[2] .. ':' .. place)
  if not ends or tonumber(ends) <= now then return 0 end
end
for place = 1, tonumber(ARGV[3]) do
  redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[1]), ARGV[2] .. ':' .. place)
end
redis.call('PEXPIREAT', KEYS[1], math.ceil((now + ARGV[1]) / 1000), 'GT')
return 1
