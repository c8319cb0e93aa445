-- renew.lua: have a lease begin anew, if it has not ended
-- KEYS[1] leases: {base}:leases (sorted set)
-- KEYS[2] who: {base}:who (hash)
-- ARGV[1] owner: whose it is
-- ARGV[2] ttl: microseconds that it lasts from now on
-- returns 1, or 0 if it has ended
-- @include facts.lua
local owner, now = ARGV[1], clock()
local facts = facts_of(KEYS[2], owner)
if not stands(KEYS[1], owner, facts, now) then
  return 0
end
facts[TTL], facts[STATE] = tonumber(ARGV[2]), HOLDS
begin(KEYS[1], KEYS[2], nil, now, owner, facts)
return 1
