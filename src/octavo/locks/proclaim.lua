-- proclaim.lua: have a holder be shown under another label
-- KEYS[1] leases: {base}:leases (sorted set)
-- KEYS[2] who: {base}:who (hash)
-- ARGV[1] owner: whose lease it is
-- ARGV[2] label: what to show
-- returns 1, or 0 if the lease has ended
-- @include facts.lua
local owner, now = ARGV[1], clock()
local facts = facts_of(KEYS[2], owner)
if not stands(KEYS[1], owner, facts, now) then
  return 0
end
facts[LABEL], facts[STATE] = ARGV[2], HOLDS
redis.call('HSET', KEYS[2], owner, cmsgpack.pack(facts))
return 1
