-- change.lua: change ratings that are still what was computed with, of nobody banned
-- KEYS[1] entries: {base}:entries (hash)
-- KEYS[2] data: {base}:data (hash)
-- KEYS[3] bans: {base}:bans (hash)
-- KEYS[4] scores: {base}:scores (sorted set)
-- KEYS[5] match: {base}:match:{id} (string)
-- ARGV[1] config: the configuration of the standings
-- ARGV[2] system: the rating system
-- ARGV[3] remember: for how many milliseconds the match is remembered, if KEYS[5] is there
-- ARGV[4..] for each player: name, its rating before or "", its rating after, its place score
-- returns {{name, rating before, rating after, rank before or false, rank} for each player, false};
--   or {false, what players.lua returns}, having changed nothing
-- @include ../board.lua
-- @include ../places.lua
-- @include lookup.lua

local entries, data, bans, scores = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local seen = KEYS[5] and redis.call('GET', KEYS[5])
if seen then return {cmsgpack.unpack(seen), false} end

local players = {}
for at = 4, #ARGV, 4 do players[#players + 1] = ARGV[at] end
local wrong, found, signed = look_up(entries, data, bans, ARGV[1], ARGV[2], players)
if wrong then return wrong end
for i in ipairs(players) do
  if found[4][i] == 1 or (found[3][i] or '') ~= ARGV[4 * i + 1] then return {false, found} end
end

local function rank(place) return place and rank_of('competition', scores, nil, nil, place, '') end

local rows, ratings, places = {}, {}, {}
for i, player in ipairs(players) do
  local after, place = ARGV[4 * i + 2], ARGV[4 * i + 3]
  rows[i] = {player, ARGV[4 * i + 1], after, rank(redis.call('ZSCORE', scores, player))}
  ratings[2 * i - 1], ratings[2 * i] = player, after
  places[2 * i - 1], places[2 * i] = place, player
end
redis.call('ZADD', scores, unpack(places))
redis.call('HSET', data, unpack(ratings))
for i, row in ipairs(rows) do row[5] = rank(places[2 * i - 1]) end
if not signed then sign(entries, bans, ARGV[1], ARGV[2]) end
if KEYS[5] then redis.call('SET', KEYS[5], cmsgpack.pack(rows), 'PX', ARGV[3]) end
return {rows, false}
