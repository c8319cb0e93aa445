-- tier.lua: the entries of a tier, best first, and what their ranks follow from
-- KEYS[1] scores: {base}:scores (sorted set)
-- KEYS[2] entries: {base}:entries (hash)
-- KEYS[3] ties: {base}:ties (sorted set)
-- KEYS[4] data: {base}:data (hash)
-- ARGV[1] config: the board's configuration
-- ARGV[2] rank: ordinal|competition|modified|fractional|dense
-- ARGV[3] prefix: how many bytes of a key stand before the member
-- ARGV[4] columns: how many of those are columns
-- ARGV[5] by: score|rank|percent
-- ARGV[6] above: the cutoff of the next better tier, or "" for none
-- ARGV[7] cutoff
-- ARGV[8] limit: how many entries at most, or "" for all
-- returns what window.lua returns
-- @include board.lua
-- @include places.lua
-- @include cutoffs.lua
-- @include run.lua

local scores, ties = KEYS[1], KEYS[3]
local method, width, bytes = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])

local wrong = mismatch(redis.call('HGET', KEYS[2], ''), ARGV[1])
if wrong then return wrong end

local first = 0
if ARGV[6] ~= '' then first = admitted(ARGV[5], ARGV[6], method, scores, ties, bytes) end
local last = admitted(ARGV[5], ARGV[7], method, scores, ties, bytes) - 1
if ARGV[8] ~= '' then last = math.min(last, first + ARGV[8] - 1) end
return run(method, scores, ties, KEYS[4], width, bytes, first, last)
