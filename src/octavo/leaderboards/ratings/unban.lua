-- unban.lua: lift bans; who had a rating stands with it again
-- KEYS[1] entries: {base}:entries (hash)
-- KEYS[2] data: {base}:data (hash)
-- KEYS[3] bans: {base}:bans (hash)
-- KEYS[4] scores: {base}:scores (sorted set)
-- ARGV[1] config: the configuration of the standings
-- ARGV[2] system: the rating system
-- ARGV[3..] the players
-- returns how many were banned
-- @include ../board.lua
-- @include lookup.lua

local data, bans, scores = KEYS[2], KEYS[3], KEYS[4]
local players = {}
for at = 3, #ARGV do players[at - 2] = ARGV[at] end
local wrong, _, signed = look_up(KEYS[1], data, bans, ARGV[1], ARGV[2], players)
if wrong then return wrong end
redis.call('ZCARD', scores)

local count = 0
for _, player in ipairs(players) do
  local kept = redis.call('HGET', bans, player)
  if kept then
    local space = string.find(kept, ' ', 1, true)
    if space then
      redis.call('ZADD', scores, string.sub(kept, 1, space - 1), player)
      redis.call('HSET', data, player, string.sub(kept, space + 1))
    end
    redis.call('HDEL', bans, player)
    count = count + 1
  end
end
if count > 0 and not signed then sign(KEYS[1], bans, ARGV[1], ARGV[2]) end
return count
