-- ban.lua: ban players: take them out of the standings, and keep their ratings
-- KEYS[1] entries: {base}:entries (hash)
-- KEYS[2] data: {base}:data (hash)
-- KEYS[3] bans: {base}:bans (hash)
-- KEYS[4] scores: {base}:scores (sorted set)
-- ARGV[1] config: the configuration of the standings
-- ARGV[2] system: the rating system
-- ARGV[3..] the players
-- returns how many were not banned before
-- @include ../board.lua
-- @include lookup.lua

local data, bans, scores = KEYS[2], KEYS[3], KEYS[4]
local players = {}
for at = 3, #ARGV do players[at - 2] = ARGV[at] end
local wrong, found, signed = look_up(KEYS[1], data, bans, ARGV[1], ARGV[2], players)
if wrong then return wrong end
redis.call('ZCARD', scores)

local count = 0
for i, player in ipairs(players) do
  if found[4][i] == 0 then
    local rating = found[3][i]
    local kept = rating and redis.call('ZSCORE', scores, player) .. ' ' .. rating or ''
    redis.call('HSET', bans, player, kept)
    redis.call('HDEL', data, player)
    redis.call('ZREM', scores, player)
    count = count + 1
  end
end
if not signed then sign(KEYS[1], bans, ARGV[1], ARGV[2]) end
return count
