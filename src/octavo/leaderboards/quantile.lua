-- quantile.lua: the scores on both sides of a fraction of the board
-- KEYS[1] scores: {base}:scores (sorted set)
-- KEYS[2] entries: {base}:entries (hash)
-- ARGV[1] config: the board's configuration
-- ARGV[2] percentage: of the members that stand before, from 0 (the best) to 100 (the worst)
-- returns {score, next worse score, fraction between them}, or false when the board is empty
-- @include board.lua

local wrong = mismatch(redis.call('HGET', KEYS[2], ''), ARGV[1])
if wrong then return wrong end

local total = redis.call('ZCARD', KEYS[1])
if total == 0 then return false end
local place = (total - 1) * ARGV[2] / 100
local first = math.floor(place)
local rows = redis.call('ZRANGE', KEYS[1], first, first + 1, 'WITHSCORES')
return {rows[2], rows[4] or rows[2], string.format('%.17g', place - first)}
