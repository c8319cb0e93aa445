-- add.lua: store an entry if there is none; a lease is none
-- KEYS[1] value: {value} (string)
-- ARGV[1] entry: what to store
-- ARGV[2] ttl: milliseconds
-- ARGV[3] void: the first bytes of an entry that is void; empty for no such
-- returns nil if stored, else the head and the tags of what is there; empty for no entry
-- @include entry.lua
local kind, head = look(KEYS[1])
if kind == 'plain' or (kind == 'entry' and not is(head, ARGV[3])) then return head or '' end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return false
