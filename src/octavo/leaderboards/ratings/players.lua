-- players.lua: the ratings of players, and who of them is banned
-- KEYS[1] entries: {base}:entries (hash)
-- KEYS[2] data: {base}:data (hash)
-- KEYS[3] bans: {base}:bans (hash)
-- ARGV[1] config: the configuration of the standings
-- ARGV[2] system: the rating system
-- ARGV[3..] the players
-- returns {seconds, microseconds, {rating or false, ...}, {1 if banned, ...}}
-- @include ../board.lua
-- @include lookup.lua

local players = {}
for at = 3, #ARGV do players[at - 2] = ARGV[at] end
local wrong, found = look_up(KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2], players)
return wrong or found
