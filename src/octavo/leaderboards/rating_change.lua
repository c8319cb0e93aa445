-- rating_change.lua: change ratings that are still what was computed with, of nobody banned
-- KEYS[1] entries: {base}:entries (hash)
-- KEYS[2] data: {base}:data (hash)
-- KEYS[3] banned: {base}:banned (hash)
-- KEYS[4] scores: {base}:scores (sorted set)
-- KEYS[5] match: {base}:match:{id} (string)
-- ARGV[1] config: the configuration of the standings
-- ARGV[2] system: the rating system
-- ARGV[3] remember: for how many milliseconds the match is remembered, if KEYS[5] is there
-- ARGV[4..] for each player: name, its rating before or "", its rating after, its place score
-- returns {{name, rating before, rating after, rank before or false, rank} for each player, false};
--   or {false, what rating_players.lua returns}, having changed nothing
-- @include board.lua
-- @include places.lua
-- @include rating_lookup.lua

local entries, data, banned, scores = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local seen = KEYS[5] and redis.call('GET', KEYS[5])
if seen then return {cmsgpack.unpack(seen), false} end

local players = {}
for at = 4, #ARGV, 4 do players[#players + 1] = ARGV[at] end
local wrong, found, system = look_up(entries, data, banned, ARGV[1], ARGV[2], players)
if wrong then return wrong end
for i in ipairs(players) do
  if found[4][i] == 1 or (found[3][i] or '') ~= ARGV[4 * i + 1] then return {false, found} end
end

local function rank(player)
  local place = redis.call('ZSCORE', scores, player)
  return place and rank_of('competition', scores, nil, player, place, '')
end

local rows = {}
for i, player in ipairs(players) do
  local before, after = ARGV[4 * i + 1], ARGV[4 * i + 2]
  rows[i] = {player, before, after, rank(player)}
end
for i, player in ipairs(players) do
  redis.call('ZADD', scores, ARGV[4 * i + 3], player)
  redis.call('HSET', data, player, ARGV[4 * i + 2])
end
for _, row in ipairs(rows) do row[5] = rank(row[1]) end
redis.call('HSETNX', entries, '', ARGV[1] .. ' 0')
if not system then redis.call('HSET', banned, '', ARGV[2]) end
if KEYS[5] then redis.call('SET', KEYS[5], cmsgpack.pack(rows), 'PX', ARGV[3]) end
return {rows, false}
