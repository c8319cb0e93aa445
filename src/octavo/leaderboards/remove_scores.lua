-- remove_scores.lua: take off who scores from one bound to the other, with their data
-- KEYS[1] scores: {base}:scores (sorted set)
-- KEYS[2] entries: {base}:entries (hash)
-- KEYS[3] ties: {base}:ties (sorted set)
-- KEYS[4] data: {base}:data (hash)
-- ARGV[1] config: the board's configuration
-- ARGV[2] prefix: how many bytes of a key stand before the member
-- ARGV[3] from: the best score
-- ARGV[4] to: the worst score
-- returns how many were taken off
-- @include board.lua
-- @include rows.lua

local scores, entries, ties, data = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local width, from, to = tonumber(ARGV[2]), ARGV[3], ARGV[4]

local wrong = mismatch(redis.call('HGET', entries, ''), ARGV[1])
if wrong then return wrong end
redis.call('ZCARD', ties)
redis.call('HLEN', data)

local removed = 0
while true do
  local rows = redis.call('ZRANGE', scores, from, to, 'BYSCORE', 'LIMIT', 0, 1000)
  if #rows == 0 then break end
  removed = removed + take_off(scores, entries, data, width, rows)
end
redis.call('ZREMRANGEBYSCORE', ties, from, to)
return removed
