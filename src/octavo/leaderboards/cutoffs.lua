-- cutoffs.lua: how many members a cutoff lets in

-- A share of the members, rounded up. What only the division has left of it does not count.
local function share(members, percent)
  return math.ceil(members * percent / 100 - 1e-9)
end

-- How many members have at least that score, rank, or place among the best percent. A tie is never
-- divided, unless ranks divide it.
local function admitted(by, cutoff, method, scores, ties, bytes)
  if by == 'score' then return redis.call('ZCOUNT', scores, '-inf', cutoff) end
  local members, last = redis.call('ZCARD', scores), tonumber(cutoff)
  if by == 'percent' then
    last = share(members, last)
    method = method == 'ordinal' and method or 'competition'
  end
  local set = method == 'dense' and ties or scores
  if last >= redis.call('ZCARD', set) then return members end
  if method == 'ordinal' or last == 0 then return last end
  local worst = redis.call('ZRANGE', set, last - 1, last - 1, 'WITHSCORES')
  local columns = string.sub(worst[1], 1, bytes)
  local rank = rank_of(method, scores, ties, nil, worst[2], columns)
  return standing_before(scores, worst[2], columns, tonumber(rank) <= last)
end
