-- audit.lua: the last changes of a board, newest first
-- KEYS[1] audit: {base}:audit (stream)
-- ARGV[1] before: an id, or "" for the newest
-- ARGV[2] limit: how many
-- ARGV[3] member: whose, or "" for everybody's
-- returns {id, {field, value, ...}} for each

local from, limit, found = ARGV[1] == '' and '+' or '(' .. ARGV[1], tonumber(ARGV[2]), {}
while #found < limit do
  local rows = redis.call('XREVRANGE', KEYS[1], from, '-', 'COUNT', math.max(limit, 500))
  for _, row in ipairs(rows) do
    local mine = ARGV[3] == ''
    for i = 1, #row[2], 2 do
      mine = mine or (row[2][i] == 'member' and row[2][i + 1] == ARGV[3])
    end
    if mine and #found < limit then found[#found + 1] = row end
  end
  if #rows < math.max(limit, 500) then break end
  from = '(' .. rows[#rows][1]
end
return found
