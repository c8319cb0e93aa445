-- mint.lua: read nonces, making those that are not there
-- KEYS[1..] nonces: {base}:generation|{base}:changes|{base}:tag:{tag} (string)
-- ARGV[1] needed: milliseconds for which they must stay at least; 0 is for ever
-- ARGV[2] ttl: milliseconds that one gets which would not
-- ARGV[3..] made: a random nonce for each key
-- returns {nonce, milliseconds it stays} for each key, one after the other
local needed = tonumber(ARGV[1])
local reply = {}
for i, key in ipairs(KEYS) do
  -- What is read before it is written counts as changed for who reads it: PTTL comes second.
  local made
  if needed > 0 then
    made = redis.call('SET', key, ARGV[2 + i], 'NX', 'PX', ARGV[2])
  else
    made = redis.call('SET', key, ARGV[2 + i], 'NX')
  end
  local stays = tonumber(ARGV[2])
  if not made then
    stays = redis.call('PTTL', key)
    if needed > 0 and stays < needed then
      redis.call('PEXPIRE', key, ARGV[2])
      stays = tonumber(ARGV[2])
    end
  end
  reply[2 * i - 1], reply[2 * i] = redis.call('GET', key), stays
end
return reply
