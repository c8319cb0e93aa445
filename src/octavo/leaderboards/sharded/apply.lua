-- apply.lua: take entries off a shard and put others on it, and say where they stand
-- KEYS[1] scores: {shard}:scores (sorted set)
-- KEYS[2] ties: {shard}:ties (sorted set)
-- KEYS[3] config: {shard}:config (string)
-- ARGV[1] config: the board's configuration
-- ARGV[2] rank: ordinal|competition|modified|fractional|dense, or "" for none
-- ARGV[3..] for each entry: - to take it off, + to put it on, = only to look; place, key
-- returns {members before, ties before, members after, ties after, {rank, ...}}: ranks of what is
--   taken off as they were before
-- @include ../board.lua
-- @include ../places.lua

local scores, ties = KEYS[1], KEYS[2]
local config, method = ARGV[1], ARGV[2]

local meta = redis.call('GET', KEYS[3])
local wrong = mismatch(meta, config)
if wrong then return wrong end
local dense = string.find(config, ' dense', 1, true) ~= nil

-- What is not there, because its move is under way, ranks as if it came first among equals.
local function rank_at(place, key)
  if redis.call('ZSCORE', scores, key) then
    return rank_of(method, scores, ties, key, place, '')
  end
  local set = dense and ties or scores
  return redis.call('ZCOUNT', set, '-inf', '(' .. place) + 1
end

local before, ties_before = redis.call('ZCARD', scores), redis.call('ZCARD', ties)
local ranks = {}
if method ~= '' then
  for at = 3, #ARGV, 3 do
    if ARGV[at] == '-' then ranks[(at - 3) / 3 + 1] = rank_at(ARGV[at + 1], ARGV[at + 2]) end
  end
end
for at = 3, #ARGV, 3 do
  local place, key = ARGV[at + 1], ARGV[at + 2]
  if ARGV[at] == '-' then
    if redis.call('ZREM', scores, key) == 1 and dense then
      drop_empty_tie(scores, ties, place, '')
    end
  elseif ARGV[at] == '+' then
    if not meta then
      meta = config .. ' 0'
      redis.call('SET', KEYS[3], meta)
    end
    redis.call('ZADD', scores, place, key)
    if dense then redis.call('ZADD', ties, place, tie_name(place, '')) end
  end
end
if method ~= '' then
  for at = 3, #ARGV, 3 do
    if ARGV[at] ~= '-' then ranks[(at - 3) / 3 + 1] = rank_at(ARGV[at + 1], ARGV[at + 2]) end
  end
end
return {before, ties_before, redis.call('ZCARD', scores), redis.call('ZCARD', ties), ranks}
