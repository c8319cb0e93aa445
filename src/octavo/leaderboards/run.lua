-- run.lua: a run of entries, and what their ranks follow from

-- From a place to a place, counted from 0; no last one means to the end. Returns {first place,
-- places before the first tie, places up to the last tie, dense rank or false, {key, score, ...},
-- {data, ...} or false}.
local function run(method, scores, ties, data, width, bytes, first, last)
  local rows = {}
  if not last or first <= last then
    rows = redis.call('ZRANGE', scores, first, last or -1, 'WITHSCORES')
  end
  local count = #rows
  if count == 0 then return {0, 0, 0, false, {}, false} end

  local function columns_of(key) return string.sub(key, 1, bytes) end
  local better, up_to, dense = 0, 0, false
  if method == 'dense' then
    dense = rank_of(method, scores, ties, rows[1], rows[2], columns_of(rows[1]))
  elseif method ~= 'ordinal' and first > 0 then
    better = standing_before(scores, rows[2], columns_of(rows[1]), false)
  end
  if method == 'modified' or method == 'fractional' then
    up_to = standing_before(scores, rows[count], columns_of(rows[count - 1]), true)
  end
  local payloads = false
  if redis.call('EXISTS', data) == 1 then
    local members = {}
    for i = 1, count, 2 do members[#members + 1] = string.sub(rows[i], width + 1) end
    payloads = fields(data, members)
  end
  return {first, better, up_to, dense, rows, payloads}
end
