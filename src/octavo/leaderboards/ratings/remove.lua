-- remove.lua: forget ratings; who is banned stays so
-- KEYS[1] entries: {base}:entries (hash)
-- KEYS[2] data: {base}:data (hash)
-- KEYS[3] bans: {base}:bans (hash)
-- KEYS[4] scores: {base}:scores (sorted set)
-- ARGV[1] config: the configuration of the standings
-- ARGV[2] system: the rating system
-- ARGV[3..] the players
-- returns how many had a rating
-- @include ../board.lua
-- @include lookup.lua

local data, bans, scores = KEYS[2], KEYS[3], KEYS[4]
local players = {}
for at = 3, #ARGV do players[at - 2] = ARGV[at] end
local wrong, found = look_up(KEYS[1], data, bans, ARGV[1], ARGV[2], players)
if wrong then return wrong end
redis.call('ZCARD', scores)

local count = 0
for i, player in ipairs(players) do
  local kept = found[4][i] == 1 and redis.call('HGET', bans, player) ~= ''
  if kept then redis.call('HSET', bans, player, '') end
  if found[3][i] then
    redis.call('HDEL', data, player)
    redis.call('ZREM', scores, player)
  end
  if kept or found[3][i] then count = count + 1 end
end
return count
