-- touch.lua: give a value another time to live
-- KEYS[1] value: {value} (string)
-- ARGV[1] ttl: milliseconds
-- returns nil if there is none, else the head and the tags of the entry; empty for no entry
-- @include entry.lua
local kind, head = look(KEYS[1])
if kind == 'none' or kind == 'lease' then return false end
local ttl = tonumber(ARGV[1])
if kind == 'entry' then
  redis.call('SETRANGE', KEYS[1], 11, struct.pack('>I8', ttl))
  ttl = ttl + struct.unpack('>I8', string.sub(head, 20, 27))
end
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', ttl))
return head or ''
