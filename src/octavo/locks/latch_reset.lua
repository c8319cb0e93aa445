-- latch_reset.lua: close a latch and forget what was counted
-- KEYS[1] counted: {base}:counted (hash)
-- KEYS[2] opened: {base}:opened (string)
-- returns 1 if anything had been counted, else 0
-- @include latch_state.lua

local counted, opened = KEYS[1], KEYS[2]

if is_open(opened) then
  redis.call('SET', opened, '-' .. redis.call('GET', opened))
  keep(opened)
end
return redis.call('UNLINK', counted)
