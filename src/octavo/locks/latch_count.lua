-- latch_count.lua: say how many are still to be counted
-- KEYS[1] counted: {base}:counted (hash)
-- KEYS[2] opened: {base}:opened (string)
-- ARGV[1] count: how many have to be counted
-- returns how many are still to be counted
-- @include latch_state.lua

local wrong = mismatch(KEYS[1], ARGV[1])
if wrong then return wrong end
if is_open(KEYS[2]) then return 0 end
return left(KEYS[1], ARGV[1])
