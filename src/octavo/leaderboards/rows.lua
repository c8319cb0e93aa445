-- rows.lua: whole rows of a board, and what the other keys have of their members

-- Takes off rows, no more than unpack() takes; returns how many. The ties are the caller's.
local function take_off(scores, entries, data, width, rows)
  local members = {}
  for i, key in ipairs(rows) do members[i] = string.sub(key, width + 1) end
  redis.call('ZREM', scores, unpack(rows))
  redis.call('HDEL', entries, unpack(members))
  redis.call('HDEL', data, unpack(members))
  return #rows
end
