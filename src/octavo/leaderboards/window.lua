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
-- ARGV[6] from: first place from 0 | member | first rank | best score | score of the last seen
-- ARGV[7] to: last place | entries on each side | last rank | worst score | key of the last seen
-- ARGV[8] limit: how many entries at most, or "" for all
-- returns {first place, places before the first tie, places up to the last tie,
--   dense rank or false, {key, score, ...}, {data, ...} or false}

-- A window around a member of a board of one column without data, most often. It goes before the
-- functions that are included below: to make them at each run costs as much as a command.
local config, method = ARGV[1], ARGV[2]
if ARGV[5] == 'around' and ARGV[4] == '0' and (method == 'competition' or method == 'ordinal') then
  local scores, member, size = KEYS[1], ARGV[6], 2 * ARGV[7] + 1
  local found = redis.call('HMGET', KEYS[2], '', member)
  local meta, prefix = found[1], ARGV[3] == '0' and '' or found[2]
  if meta and string.sub(meta, 1, #config + 1) == config .. ' '
    and redis.call('EXISTS', KEYS[4]) == 0 then
    local first = prefix and redis.call('ZRANK', scores, prefix .. member)
    if not first then return {0, 0, 0, false, {}, false} end
    first = math.max(0, math.min(first - ARGV[7], redis.call('ZCARD', scores) - size))
    local rows, better = redis.call('ZRANGE', scores, first, first + size - 1, 'WITHSCORES'), 0
    if first > 0 and method == 'competition' then
      better = redis.call('ZCOUNT', scores, '-inf', '(' .. rows[2])
    end
    return {first, better, 0, false, rows, false}
  end
end
-- @include board.lua
-- @include places.lua
-- @include run.lua

local scores, entries, ties, data = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local width, bytes = tonumber(ARGV[3]), tonumber(ARGV[4])
local from, to = ARGV[6], ARGV[7]

-- The second field is of use around a member only.
local found = redis.call('HMGET', entries, '', from)
local wrong = mismatch(found[1], ARGV[1])
if wrong then return wrong end

local function columns_of(key) return string.sub(key, 1, bytes) end

-- The first and the last place of the selection, counted from 0; no last means to the end.
local first, last = 0, -1
if ARGV[5] == 'places' then
  first, last = tonumber(from), tonumber(to)
elseif ARGV[5] == 'scores' then
  first = redis.call('ZCOUNT', scores, '-inf', '(' .. from)
  last = redis.call('ZCOUNT', scores, '-inf', to) - 1
elseif ARGV[5] == 'around' then
  local prefix = width == 0 and '' or found[2]
  local place = prefix and redis.call('ZRANK', scores, prefix .. from)
  if place then
    local size = 2 * to + 1
    first = math.max(0, math.min(place - to, redis.call('ZCARD', scores) - size))
    last = first + size - 1
  end
elseif ARGV[5] == 'after' then
  if tonumber(redis.call('ZSCORE', scores, to)) == tonumber(from) then
    first, last = redis.call('ZRANK', scores, to) + 1, nil
  else
    first, last = standing_before(scores, from, to, false), nil
  end
elseif method == 'ordinal' then
  first, last = from - 1, to - 1
else
  -- Whole ties, from the one that holds the first rank to the one that holds the last. Either may
  -- have a rank beyond that place, and then does not belong to them.
  local set = method == 'dense' and ties or scores
  local low, high = tonumber(from), math.min(to, redis.call('ZCARD', set))
  if low <= high then
    local best = redis.call('ZRANGE', set, low - 1, low - 1, 'WITHSCORES')
    local worst = redis.call('ZRANGE', set, high - 1, high - 1, 'WITHSCORES')
    local best_columns, worst_columns = columns_of(best[1]), columns_of(worst[1])
    local above = rank_of(method, scores, ties, nil, best[2], best_columns)
    local below = rank_of(method, scores, ties, nil, worst[2], worst_columns)
    first = standing_before(scores, best[2], best_columns, tonumber(above) < low)
    last = standing_before(scores, worst[2], worst_columns, tonumber(below) <= high) - 1
  end
end
if ARGV[8] ~= '' then last = math.min(last or math.huge, first + tonumber(ARGV[8]) - 1) end
return run(method, scores, ties, data, width, bytes, first, last)
