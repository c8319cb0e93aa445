-- gate_admit.lua: admit a fence, unless a newer one has been admitted
-- KEYS[1] newest: {base}:newest (string)
-- ARGV[1] fence: a whole number
-- ARGV[2] ttl: milliseconds for which it is remembered; 0 for ever
-- returns 1 if it is admitted, else the newest, as text

-- Compared as text: a float64 does not hold every whole number of 63 bits.
local fence, newest = ARGV[1], redis.call('GET', KEYS[1]) or '0'
if #fence < #newest or (#fence == #newest and fence < newest) then return newest end
if ARGV[2] == '0' then
  redis.call('SET', KEYS[1], fence)
else
  redis.call('SET', KEYS[1], fence, 'PX', ARGV[2])
end
return 1
