-- add.lua: store an entry if there is none; a lease is none
-- KEYS[1] value: {value} (string)
-- ARGV[1] entry: what to store
-- ARGV[2] ttl: milliseconds
-- ARGV[3] head: the first bytes of an entry that is void; empty for no such
-- returns nil if stored, else the head and the tags of what is there
local kind = redis.call('GETRANGE', KEYS[1], 0, 0)
if kind ~= '' and kind ~= '\0' then
  local void = ARGV[3] ~= '' and redis.call('GETRANGE', KEYS[1], 0, #ARGV[3] - 1) == ARGV[3]
  if not void then
    local high, low = string.byte(redis.call('GETRANGE', KEYS[1], 31, 32), 1, 2)
    local tags = kind == '\3' and low and 2 + high * 256 + low or 0
    return redis.call('GETRANGE', KEYS[1], 0, 30 + tags)
  end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return false
