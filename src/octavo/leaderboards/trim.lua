-- trim.lua: keep the best entries and take the others off, with their data
-- KEYS[1] scores: {base}:scores (sorted set)
-- KEYS[2] entries: {base}:entries (hash)
-- KEYS[3] ties: {base}:ties (sorted set)
-- KEYS[4] data: {base}:data (hash)
-- ARGV[1] config: the board's configuration
-- ARGV[2] prefix: how many bytes of a key stand before the member
-- ARGV[3] columns: how many of those are columns
-- ARGV[4] keep: how many entries stay
-- returns how many were taken off
-- @include board.lua
-- @include places.lua
-- @include rows.lua

local scores, entries, ties, data = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local width, keep = tonumber(ARGV[2]), tonumber(ARGV[4])

local wrong = mismatch(redis.call('HGET', entries, ''), ARGV[1])
if wrong then return wrong end
redis.call('ZCARD', ties)
redis.call('HLEN', data)

local removed = 0
while true do
  local rows = redis.call('ZRANGE', scores, keep, keep + 999)
  if #rows == 0 then break end
  removed = removed + take_off(scores, entries, data, width, rows)
end
local last = keep > 0 and redis.call('ZRANGE', scores, -1, -1, 'WITHSCORES') or {}
if last[1] then
  local tie = tie_name(last[2], string.sub(last[1], 1, tonumber(ARGV[3])))
  local place = redis.call('ZRANK', ties, tie)
  if place then redis.call('ZREMRANGEBYRANK', ties, place + 1, -1) end
else
  redis.call('DEL', ties)
end
return removed
