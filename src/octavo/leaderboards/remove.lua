-- remove.lua: take members off the board, with their data
-- KEYS[1] scores: {base}:scores (sorted set)
-- KEYS[2] entries: {base}:entries (hash)
-- KEYS[3] ties: {base}:ties (sorted set)
-- KEYS[4] data: {base}:data (hash)
-- ARGV[1] config: the board's configuration
-- ARGV[2] prefix: how many bytes of a key stand before the member
-- ARGV[3] columns: how many of those are columns
-- ARGV[4..] the members
-- returns how many were on the board, or {AGAIN} where it has bans, and alter.lua has to be asked
-- @include board.lua
-- @include places.lua

local scores, entries, ties, data = KEYS[1], KEYS[2], KEYS[3], KEYS[4]

local meta = redis.call('HGET', entries, '')
local wrong = mismatch(meta, ARGV[1])
if wrong then return wrong end
if meta and not tonumber(string.sub(meta, #ARGV[1] + 2)) then return {'AGAIN'} end
local dense = redis.call('ZCARD', ties) > 0
redis.call('HLEN', data)

local removed = 0
for at = 4, #ARGV do
  local member, prefix = ARGV[at], ''
  if ARGV[2] ~= '0' then prefix = redis.call('HGET', entries, member) end
  local score = prefix and redis.call('ZSCORE', scores, prefix .. member)
  if score then
    redis.call('ZREM', scores, prefix .. member)
    redis.call('HDEL', entries, member)
    redis.call('HDEL', data, member)
    if dense then drop_empty_tie(scores, ties, score, string.sub(prefix, 1, tonumber(ARGV[3]))) end
    removed = removed + 1
  end
end
return removed
