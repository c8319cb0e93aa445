-- inspect.lua: tell what a subject has used, and change nothing
-- KEYS[1] subject: {base} (string)
-- KEYS[2..] own: {base}:log:{rule}|{base}:leases:{rule} (list or sorted set)
-- ARGV[1..] owners: of each of KEYS[2..] its rule's kind and name
-- returns {rules whose own keys are to be given too, as {kind, name}}; if there are none, also
--   milliseconds until it is forgotten, when a ban ends or 0, how many bans in a row, and of each
--   rule {kind, name, 1 if it is a shadow, remaining, most, microseconds until nothing is used}
-- @include meters.lua
-- @include owners.lua
local now = clock()
local stored, ban = open(KEYS[1], 1, {}, now)
local own, missing = owners(stored, KEYS, ARGV)
if #missing > 0 then return { missing } end

local rules = {}
for i, found in ipairs(stored) do
  local meter = {
    kind = found.kind, x = found.x, y = found.y, z = found.z, shift = 0,
    own = own[found.kind .. found.name],
    -- What is stored of a quota is of one period.
    start = found.a, stop = found.c, next = found.c,
  }
  begin(meter, now)
  restore(meter, found, now)
  rules[i] = {
    found.kind, found.name, found.shadow and 1 or 0, left(meter, now),
    meter.kind == GCRA and whole(meter.z, meter.y) or meter.x,
    math.max(over_at(meter) - now, 0),
  }
end
local banned = ban and ban[1] > now and ban[1] or 0
return { missing, redis.call('PTTL', KEYS[1]), banned, ban and ban[4] or 0, rules }
