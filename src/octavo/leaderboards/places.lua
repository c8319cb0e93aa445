-- places.lua: where on a board a score stands, and which rank that is
-- Scores are passed as text, as the server gave them or the caller wrote them: no digit is lost.

-- A number with every digit; tostring() would keep 14.
local function text(number)
  if number == 0 then return '0' end
  return string.format('%.17g', number)
end

-- Lua's own < on strings follows the locale of the server; a sorted set compares bytes.
local function less(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

-- How many stand before (score, prefix), or also those that equal it in as many bytes: O(log N),
-- with a binary search only where scores tie and the prefix decides.
local function standing_before(scores, score, prefix, or_equal)
  if prefix == '' then
    return redis.call('ZCOUNT', scores, '-inf', or_equal and score or '(' .. score)
  end
  local low = redis.call('ZCOUNT', scores, '-inf', '(' .. score)
  local high = low + redis.call('ZCOUNT', scores, score, score)
  while low < high do
    local middle = math.floor((low + high) / 2)
    local found = string.sub(redis.call('ZRANGE', scores, middle, middle)[1], 1, #prefix)
    if less(found, prefix) or (or_equal and found == prefix) then
      low = middle + 1
    else
      high = middle
    end
  end
  return low
end

-- The name of a tie in the sorted set of distinct scores, which orders like the board.
local function tie_name(score, columns)
  return columns .. ':' .. text(tonumber(score))
end

-- The rank of what stands on the board under `key`, by any of the five methods.
local function rank_of(method, scores, ties, key, score, columns)
  if method == 'competition' then return standing_before(scores, score, columns, false) + 1 end
  if method == 'ordinal' then return redis.call('ZRANK', scores, key) + 1 end
  if method == 'dense' then return redis.call('ZRANK', ties, tie_name(score, columns)) + 1 end
  if method == 'modified' then return standing_before(scores, score, columns, true) end
  local better = standing_before(scores, score, columns, false)
  return text((better + 1 + standing_before(scores, score, columns, true)) / 2)
end

-- Forgets a distinct score that no member has any more.
local function drop_empty_tie(scores, ties, score, columns)
  local last = standing_before(scores, score, columns, true)
  if last == standing_before(scores, score, columns, false) then
    redis.call('ZREM', ties, tie_name(score, columns))
  end
end
