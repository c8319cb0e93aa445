-- window.lua: a run of a shard's entries, best first, and what their ranks follow from
-- KEYS[1] scores: {shard}:scores (sorted set)
-- KEYS[2] ties: {shard}:ties (sorted set)
-- KEYS[3] config: {shard}:config (string)
-- ARGV[1] config: the board's configuration
-- ARGV[2] rank: ordinal|competition|modified|fractional|dense
-- ARGV[3] select: places|scores|around|after
-- ARGV[4] from: first place from 0 | best score | score of an entry
-- ARGV[5] to: last place | worst score | key of that entry
-- ARGV[6] limit: how many entries at most, or "" for all
-- returns {members, ties, first place, places before the first tie, places up to the last tie,
--   dense rank, {key, score, ...}}
-- @include ../board.lua
-- @include ../places.lua

local scores, ties = KEYS[1], KEYS[2]
local method, select, from, to = ARGV[2], ARGV[3], ARGV[4], ARGV[5]

local wrong = mismatch(redis.call('GET', KEYS[3]), ARGV[1])
if wrong then return wrong end

local members, limit = redis.call('ZCARD', scores), tonumber(ARGV[6])
local first, last
if select == 'places' then
  first, last = tonumber(from), tonumber(to)
elseif select == 'scores' then
  first = redis.call('ZCOUNT', scores, '-inf', '(' .. from)
  last = redis.call('ZCOUNT', scores, '-inf', to) - 1
else
  local place = redis.call('ZRANK', scores, to)
  first = place or standing_before(scores, from, to, false)
  if select == 'after' then
    first = place and place + 1 or first
  else
    first = math.max(0, math.min(first - (limit - 1) / 2, members - limit))
  end
  last = members - 1
end
if limit then last = math.min(last, first + limit - 1) end
local rows = {}
if first <= last then rows = redis.call('ZRANGE', scores, first, last, 'WITHSCORES') end
local count = #rows
local found = {members, redis.call('ZCARD', ties), first, 0, 0, 0, rows}
if count == 0 then return found end
if method == 'dense' then
  found[6] = rank_of(method, scores, ties, rows[1], rows[2], '')
elseif method ~= 'ordinal' and first > 0 then
  found[4] = standing_before(scores, rows[2], '', false)
end
if method == 'modified' or method == 'fractional' then
  found[5] = standing_before(scores, rows[count], '', true)
end
return found
