-- submit.lua: record scores, all or none, and say where each member stood and stands
-- KEYS[1] scores: {base}:scores (sorted set)
-- KEYS[2] entries: {base}:entries (hash)
-- KEYS[3] ties: {base}:ties (sorted set)
-- KEYS[4] data: {base}:data (hash)
-- ARGV[1] config: the board's configuration
-- ARGV[2] keep: best|last|sum|first
-- ARGV[3] rank: ordinal|competition|modified|fractional|dense
-- ARGV[4] ties: earliest|latest|member
-- ARGV[5] columns: how many scores a member has
-- ARGV[6..] for each submission: member, its scores (lower is better), data or ""
-- returns for each submission {1 if accepted, key, score, rank, old key, old score, old rank}
-- @include board.lua
-- @include places.lua
-- @include columns.lua

local scores, entries, ties, data = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local config, keep, method, tie_break = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local width = tonumber(ARGV[5])
local step, bytes = width + 2, 8 * (width - 1)
local dense = string.find(config, ' dense', 1, true) ~= nil
local stamped = tie_break ~= 'member'
local bare = not stamped and width == 1

local names, payloads = {''}, false
for at = 6, #ARGV, step do
  names[#names + 1] = ARGV[at]
  payloads = payloads or ARGV[at + width + 1] ~= ''
end
local prefixes = fields(entries, names)
local meta = prefixes[1]
local wrong = mismatch(meta, config)
if wrong then return wrong end
-- The first write is to the scores; a wrong type behind the other keys must show before it.
if dense then redis.call('ZCARD', ties) end
if payloads then redis.call('HLEN', data) end

-- The prefix and the score that a member has; nothing for a new one.
local function current(member, prefix)
  if bare then prefix = '' end
  local score = prefix and redis.call('ZSCORE', scores, prefix .. member)
  if score then return prefix, score end
end

-- The columns after the first that stand behind a member in the arguments.
local function columns_at(at)
  if width == 1 then return '' end
  local words = {}
  for i = 2, width do words[#words + 1] = encode(tonumber(ARGV[at + i])) end
  return table.concat(words)
end

local function added(old, by)
  local sum = old + by
  if sum - sum ~= 0 or (by ~= 0 and sum == old) then return nil end
  return sum
end

local function added_columns(old, by)
  local words = {}
  for i = 1, bytes, 8 do
    local sum = added(decode(string.sub(old, i, i + 7)), decode(string.sub(by, i, i + 7)))
    if not sum then return nil end
    words[#words + 1] = encode(sum)
  end
  return table.concat(words)
end

-- Sums are all made before the first write: they are what can fail.
local sums = {}
if keep == 'sum' then
  local latest = {}
  for i = 2, #names do
    local member, at = names[i], 6 + (i - 2) * step
    local score, columns = ARGV[at + 1], columns_at(at)
    local old = latest[member]
    if not old then
      local prefix, has = current(member, prefixes[i])
      old = prefix and {has, string.sub(prefix, 1, bytes)}
    end
    if old then
      local sum = added(tonumber(old[1]), tonumber(score))
      score, columns = sum and text(sum), sum and added_columns(old[2], columns)
      if not columns then
        return redis.error_reply('PRECISION a float64 cannot hold the sum of the scores of ' .. member)
      end
    end
    latest[member] = {score, columns}
    sums[i] = latest[member]
  end
end

local stamp = 0
if stamped then
  -- Each stamp is later than the last, whatever the clock does, so no two are the same.
  local now = redis.call('TIME')
  local last = meta and tonumber(string.sub(meta, #config + 2)) or 0
  stamp = math.max(now[1] * 1000000 + now[2] - 1, last)
end

local moved = {}
local changes = {}

-- Puts a member where its new score belongs, and returns the key under which it stands there.
local function move(member, prefix, old, old_columns, score, columns)
  local new = columns
  if stamped then
    stamp = stamp + 1
    new = columns .. struct.pack('>I7', tie_break == 'earliest' and stamp or 2 ^ 53 - stamp)
  end
  local key = new .. member
  if old and not bare then redis.call('ZREM', scores, prefix .. member) end
  redis.call('ZADD', scores, score, key)
  if not bare then
    moved[member] = new
    changes[#changes + 1] = member
    changes[#changes + 1] = new
  end
  if dense then
    redis.call('ZADD', ties, score, tie_name(score, columns))
    if old then drop_empty_tie(scores, ties, old, old_columns) end
  end
  return key
end

local replies = {}
local unchanged = meta
for i = 2, #names do
  local member, at = names[i], 6 + (i - 2) * step
  local prefix, old = current(member, moved[member] or prefixes[i])
  local score, columns = ARGV[at + 1], columns_at(at)
  local accepted, same, key, old_key, old_rank, old_columns = true, false, nil, false, false, nil
  if old then
    old_columns = string.sub(prefix, 1, bytes)
    old_key = prefix .. member
    old_rank = rank_of(method, scores, ties, old_key, old, old_columns)
    if keep == 'sum' then
      score, columns = sums[i][1], sums[i][2]
    elseif keep == 'best' then
      local new, best = tonumber(score), tonumber(old)
      accepted = new < best or (new == best and less(columns, old_columns))
    else
      accepted = keep == 'last'
    end
    same = not accepted or (tonumber(score) == tonumber(old) and columns == old_columns)
  end
  local rank = old_rank
  if same then
    key, score = old_key, old
  else
    key = move(member, prefix, old, old_columns, score, columns)
    rank = rank_of(method, scores, ties, key, score, columns)
    unchanged = false
  end
  local payload = ARGV[at + width + 1]
  if accepted and payload ~= '' then redis.call('HSET', data, member, payload) end
  replies[i - 1] = {accepted and 1 or 0, key, score, rank, old_key, old or false, old_rank}
end

if not unchanged then
  changes[#changes + 1] = ''
  changes[#changes + 1] = config .. ' ' .. string.format('%d', stamp)
  for at = 1, #changes, 4000 do
    redis.call('HSET', entries, unpack(changes, at, math.min(at + 3999, #changes)))
  end
end
return replies
