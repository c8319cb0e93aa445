-- window.lua: a run of entries, best first, and what their ranks follow from
-- KEYS[1] scores: {base}:scores (sorted set)
-- KEYS[2] entries: {base}:entries (hash)
-- KEYS[3] ties: {base}:ties (sorted set)
-- KEYS[4] data: {base}:data (hash)
-- ARGV[1] config: the board's configuration
-- ARGV[2] rank: ordinal|competition|modified|fractional|dense
-- ARGV[3] prefix: how many bytes of a key stand before the member
-- ARGV[4] columns: how many of those are columns
-- ARGV[5] select: places|around|ranks|scores|after
-- ARGV[6] from: first place from 0 | member | first rank | best score | score of the last entry seen
-- ARGV[7] to: last place | entries on each side | last rank | worst score | key of the last entry seen
-- ARGV[8] limit: how many entries at most, or "" for all
-- returns {first place, places before the first tie, places up to the last tie, dense rank or false,
--   {key, score, ...}, {data, ...} or false}
-- @include board.lua

local scores, entries, ties, data = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local method, width, bytes = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local from, to = ARGV[6], ARGV[7]

local wrong = mismatch(redis.call('HGET', entries, ''), ARGV[1])
if wrong then return wrong end

local function columns_of(key) return string.sub(key, 1, bytes) end

local function tie_at(place)
  local found = redis.call('ZRANGE', scores, place, place, 'WITHSCORES')
  if not found[1] then return nil end
  return tonumber(found[2]), columns_of(found[1])
end

-- Each selection gives the first and the last place, counted from 0; no last means to the end.
local select = {}

function select.places() return tonumber(from), tonumber(to) end

function select.around()
  local prefix = ''
  if width > 0 then prefix = redis.call('HGET', entries, from) end
  local place = prefix and redis.call('ZRANK', scores, prefix .. from)
  if not place then return 0, -1 end
  local size, total = 2 * to + 1, redis.call('ZCARD', scores)
  local first = math.max(0, math.min(place - to, total - size))
  return first, first + size - 1
end

-- Whole ties, from the one that holds the first rank to the one that holds the last.
function select.ranks()
  local first, last = tonumber(from) - 1, tonumber(to) - 1
  if method == 'ordinal' then return first, last end
  local set = method == 'dense' and ties or scores
  last = math.min(last, redis.call('ZCARD', set) - 1)
  if first > last then return 0, -1 end
  local score, columns, end_score, end_columns
  if method == 'dense' then
    local best = redis.call('ZRANGE', ties, first, first, 'WITHSCORES')
    local worst = redis.call('ZRANGE', ties, last, last, 'WITHSCORES')
    score, columns = tonumber(best[2]), columns_of(best[1])
    end_score, end_columns = tonumber(worst[2]), columns_of(worst[1])
  else
    score, columns = tie_at(first)
    end_score, end_columns = tie_at(last)
  end
  return standing_before(scores, score, columns, false),
    standing_before(scores, end_score, end_columns, true) - 1
end

function select.scores()
  return redis.call('ZCOUNT', scores, '-inf', '(' .. from),
    redis.call('ZCOUNT', scores, '-inf', to) - 1
end

function select.after()
  local place = redis.call('ZSCORE', scores, to) == from and redis.call('ZRANK', scores, to)
  if place then return place + 1 end
  return standing_before(scores, tonumber(from), to, true)
end

local first, last = select[ARGV[5]]()
if ARGV[8] ~= '' then last = math.min(last or math.huge, first + tonumber(ARGV[8]) - 1) end
local rows = {}
if not last or first <= last then
  rows = redis.call('ZRANGE', scores, first, last or -1, 'WITHSCORES')
end
local count = #rows
if count == 0 then return {0, 0, 0, false, {}, false} end

local score, columns = tonumber(rows[2]), columns_of(rows[1])
local better, up_to, dense = 0, 0, false
if method == 'dense' then
  dense = rank_of(method, scores, ties, rows[1], score, columns)
elseif method ~= 'ordinal' and first > 0 then
  better = standing_before(scores, score, columns, false)
end
if method == 'modified' or method == 'fractional' then
  up_to = standing_before(scores, tonumber(rows[count]), columns_of(rows[count - 1]), true)
end
local payloads = false
if redis.call('EXISTS', data) == 1 then
  local members = {}
  for i = 1, count, 2 do members[#members + 1] = string.sub(rows[i], width + 1) end
  payloads = fields(data, members)
end
return {first, better, up_to, dense, rows, payloads}
