-- gcra.lua: one limit by GCRA and nothing else, as the least that a decision by script can do
-- KEYS[1] key: octavo:bench:{name} (string)
-- ARGV[1] interval: microseconds for one unit
-- ARGV[2] burst: units
-- ARGV[3] cost: units
-- returns {1 or 0, remaining, when the cost fits, when nothing is used}, in microseconds from now
local time = redis.call('TIME')
local now = time[1] * 1e6 + time[2]
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local before = math.max(now, tonumber(redis.call('GET', KEYS[1]) or 0))
local after = before + ARGV[3] * interval
local early = after - now - burst * interval
if early > 0 then
  return { 0, math.floor((burst * interval - before + now) / interval), early, before - now }
end
redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.ceil((after - now) / 1e3))
return { 1, math.floor(-early / interval), 0, after - now }
