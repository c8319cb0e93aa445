-- invalidate.lua: give tags another nonce, so that no entry has the one they have now
-- KEYS[1..] nonces: {base}:changes|{base}:tag:{tag} (string)
-- ARGV[1] nonce: random
-- ARGV[2] ttl: milliseconds
-- returns nothing
for _, key in ipairs(KEYS) do
  redis.call('SET', key, ARGV[1], 'PX', ARGV[2])
end
return false
