-- touch.lua: give an entry another time to live
-- KEYS[1] value: {value} (string)
-- ARGV[1] ttl: milliseconds
-- returns 1 if there is an entry, else 0
local kind = redis.call('GETRANGE', KEYS[1], 0, 0)
if kind == '' or kind == '\0' then return 0 end
local ttl = tonumber(ARGV[1])
if kind == '\2' or kind == '\3' then
  local grace = struct.unpack('>I8', redis.call('GETRANGE', KEYS[1], 19, 26))
  redis.call('SETRANGE', KEYS[1], 11, struct.pack('>I8', ttl))
  ttl = ttl + grace
end
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', ttl))
return 1
