-- forget.lua: forget what a subject has used, and that it is banned
-- KEYS[1] subject: {base} (string)
-- KEYS[2..] own: {base}:log:{rule}|{base}:leases:{rule} (list or sorted set)
-- ARGV[1..] owners: of each of KEYS[2..] its rule's kind and name
-- returns {rules whose own keys are to be given too, as {kind, name}}; if there are none, also how
--   many keys there were
-- @include meters.lua
-- @include owners.lua

-- What cannot be read can be forgotten.
local readable, stored = pcall(open, KEYS[1], 1, {}, clock())
local _, missing = owners(readable and stored or {}, KEYS, ARGV)
if #missing > 0 then return { missing } end

local found = 0
for _, key in ipairs(KEYS) do
  found = found + redis.call('UNLINK', key)
end
return { missing, found }
