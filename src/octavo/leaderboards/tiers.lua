-- tiers.lua: how many members each tier has, and where one of them stands in its tier
-- KEYS[1] scores: {base}:scores (sorted set)
-- KEYS[2] entries: {base}:entries (hash)
-- KEYS[3] ties: {base}:ties (sorted set)
-- ARGV[1] config: the board's configuration
-- ARGV[2] rank: ordinal|competition|modified|fractional|dense
-- ARGV[3] prefix: how many bytes of a key stand before the member
-- ARGV[4] columns: how many of those are columns
-- ARGV[5] by: score|rank|percent
-- ARGV[6] member, or "" for the tiers themselves
-- ARGV[7..] cutoffs: of the tiers, best first; a score as the sorted set has it
-- returns of a member {members, up to each cutoff, score, rank, members ahead, ranks ahead of its
--   tier} or false; else {members, up to each cutoff, {best score, worst score, ...} of each tier}
-- @include board.lua
-- @include places.lua
-- @include cutoffs.lua

local scores, entries, ties = KEYS[1], KEYS[2], KEYS[3]
local method, bytes, member = ARGV[2], tonumber(ARGV[4]), ARGV[6]

local found = redis.call('HMGET', entries, '', member)
local wrong = mismatch(found[1], ARGV[1])
if wrong then return wrong end

local upto = {}
for at = 7, #ARGV do
  upto[at - 6] = admitted(ARGV[5], ARGV[at], method, scores, ties, bytes)
end
local members = redis.call('ZCARD', scores)

if member == '' then
  local bounds = {}
  for i, count in ipairs(upto) do
    local first = upto[i - 1] or 0
    for side, place in ipairs({first, count - 1}) do
      local row = first < count and redis.call('ZRANGE', scores, place, place, 'WITHSCORES')
      bounds[2 * i - 2 + side] = row and row[2]
    end
  end
  return {members, upto, bounds}
end

local prefix = ARGV[3] == '0' and '' or found[2]
local score = prefix and redis.call('ZSCORE', scores, prefix .. member)
if not score then return false end
local columns = string.sub(prefix, 1, bytes)
local rank = rank_of(method, scores, ties, prefix .. member, score, columns)
local ahead = method == 'ordinal' and rank - 1 or standing_before(scores, score, columns, false)
local before = 0
for _, count in ipairs(upto) do
  if count <= ahead then before = count end
end
if method == 'dense' and before > 0 then
  local first = redis.call('ZRANGE', scores, before, before, 'WITHSCORES')
  local tail = string.sub(first[1], 1, bytes)
  before = rank_of(method, scores, ties, first[1], first[2], tail) - 1
end
return {members, upto, score, rank, ahead, before}
