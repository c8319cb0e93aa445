-- news.lua: what a script changes about the members one watches, as events

-- Where those stand whom a change of places from low to high may concern: the best, and of those
-- watched the ones in between: {rank, score, whether among the best} by member.
local function seen(shape, t, top, low, high)
  local found = {}
  local function note(key, score, best)
    local member = string.sub(key, shape.prefix + 1)
    if found[member] or not (best or redis.call('ZSCORE', t.scores, key)) then return end
    local columns = string.sub(key, 1, shape.columns)
    local rank = rank_of(shape.method, t.scores, t.ties, key, score, columns)
    found[member] = {rank, score, best}
  end
  if redis.call('ZCOUNT', t.scores, '-inf', '(' .. low) < top then
    local rows = redis.call('ZRANGE', t.scores, 0, top - 1, 'WITHSCORES')
    for i = 1, #rows, 2 do note(rows[i], rows[i + 1], true) end
  end
  local rows = redis.call('ZRANGEBYSCORE', t.watched, low, high, 'WITHSCORES')
  for i = 1, #rows, 2 do note(rows[i], rows[i + 1], false) end
  return found
end

-- Reports what differs between two of these but for members who are reported already. Whoever is in
-- one of them only is looked up in the other.
local function report(shape, t, stream, most, before, after, reported)
  local function tell(kind, member, was, is)
    redis.call('XADD', stream, 'MAXLEN', '~', most, '*', 'kind', kind, 'member', member,
      'table', t.scores, 'rank', is and is[1] or '', 'score', is and is[2] or '',
      'previous_rank', was and was[1] or '', 'previous', was and was[2] or '')
  end
  for _, one in ipairs(reported) do tell(one[1], one[2], one[3], one[4]) end
  local names = {}
  for member in pairs(before) do names[#names + 1] = member end
  for member in pairs(after) do
    if not before[member] then names[#names + 1] = member end
  end
  table.sort(names)
  for _, member in ipairs(names) do
    local was, is = before[member], after[member]
    local rank = rank_now(shape, t, member)
    local there = rank and {rank, t.on[member][2]}
    if was and was[3] and not (is and is[3]) then
      tell('left', member, was, there)
    elseif is and is[3] and not (was and was[3]) then
      tell('entered', member, was or t.was[member], is)
    elseif not reported[member] and was and there and tostring(was[1]) ~= tostring(rank) then
      tell('moved', member, was, there)
    end
  end
end
