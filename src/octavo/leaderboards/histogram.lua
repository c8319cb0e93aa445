-- histogram.lua: count the members in each interval of scores
-- KEYS[1] scores: {base}:scores (sorted set)
-- KEYS[2] entries: {base}:entries (hash)
-- ARGV[1] config: the board's configuration
-- ARGV[2] bins: into how many equal intervals to divide, or "" where edges are given
-- ARGV[3] order: desc|asc
-- ARGV[4..] edges: the bounds of the intervals, as the sorted set has them, lowest first
-- returns {edge, ...}, {members in each interval, ...}
-- @include board.lua
-- @include places.lua

local scores = KEYS[1]

local wrong = mismatch(redis.call('HGET', KEYS[2], ''), ARGV[1])
if wrong then return wrong end

local edges, counts = {}, {}
for i = 4, #ARGV do edges[i - 3] = ARGV[i] end
if ARGV[2] ~= '' then
  local low = redis.call('ZRANGE', scores, 0, 0, 'WITHSCORES')[2]
  if not low then return {{}, {}} end
  local high, bins = redis.call('ZRANGE', scores, -1, -1, 'WITHSCORES')[2], tonumber(ARGV[2])
  if high == low then bins = 1 end
  local edge = low
  for i = 0, bins do
    -- Weighted, so that neither the difference nor a product can overflow; and not below the edge
    -- before, where the scores are so close that rounding decides.
    edge = math.min(math.max(edge, low * (1 - i / bins) + high * (i / bins)), high)
    edges[i + 1] = text(edge)
  end
end
-- An interval holds its lower score and not its upper one, but for the last, which holds both. In
-- the sorted set of a descending board the scores are negative, so that the sides are exchanged.
for i = 1, #edges - 1 do
  local low, high = edges[i], edges[i + 1]
  if ARGV[3] == 'asc' and i < #edges - 1 then high = '(' .. high end
  if ARGV[3] == 'desc' and i > 1 then low = '(' .. low end
  counts[i] = redis.call('ZCOUNT', scores, low, high)
end
return {edges, counts}
