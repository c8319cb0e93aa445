-- lease.lua: give a lease another time, end it, or leave something else in its place, if it is ours
-- KEYS[1] lease: {value}|{value}:l (string)
-- ARGV[1] lease: what it holds if it is ours
-- ARGV[2] ttl: milliseconds from now; 0 ends it
-- ARGV[3] next: what it holds from now on
-- returns 1 if it was ours, else 0
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then
  redis.call('UNLINK', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[2])
end
return 1
