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

local scores, entries, ties, data = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local config, keep, method, tie_break = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local width = tonumber(ARGV[5])
local dense = string.find(config, ' dense', 1, true) ~= nil
local stamped = tie_break ~= 'member'
local bytes = 8 * (width - 1)

-- A column after the first is stored as 8 bytes that order like the number: the sign bit of a
-- positive float64 is set, all bits of a negative one are inverted.
local function inverted(word)
  return (string.gsub(word, '.', function(byte) return string.char(255 - string.byte(byte)) end))
end

local function encode(number)
  local word = struct.pack('>d', number + 0)
  if string.byte(word) >= 128 then return inverted(word) end
  return string.char(string.byte(word) + 128) .. string.sub(word, 2)
end

local function decode(word)
  if string.byte(word) < 128 then return struct.unpack('>d', inverted(word)) end
  return struct.unpack('>d', string.char(string.byte(word) - 128) .. string.sub(word, 2))
end

local names = {''}
for at = 6, #ARGV, width + 2 do names[#names + 1] = ARGV[at] end
local prefixes = fields(entries, names)
local meta = prefixes[1]
local wrong = mismatch(meta, config)
if wrong then return wrong end
-- The first write is to the scores; a wrong type behind the other keys must show before it.
if dense then redis.call('ZCARD', ties) end

local function added(old, by)
  local sum = old + by
  if sum - sum ~= 0 or (by ~= 0 and sum == old) then return nil end
  return sum
end

local state = {}

local function current(member, prefix)
  if state[member] then return state[member] end
  if not (stamped or width > 1) then prefix = '' end
  local score = prefix and redis.call('ZSCORE', scores, prefix .. member)
  if not score then return {} end
  return {key = prefix .. member, score = tonumber(score), columns = string.sub(prefix, 1, bytes)}
end

-- What a submission makes of the member's score: nil where the sum has no float64.
local function decided(old, score, columns)
  if not old.score or keep == 'last' then return true, score, columns end
  if keep == 'first' then return false, old.score, old.columns end
  if keep == 'best' then
    local better = score < old.score or (score == old.score and less(columns, old.columns))
    if better then return true, score, columns end
    return false, old.score, old.columns
  end
  local sum, words = added(old.score, score), {}
  for i = 1, bytes, 8 do
    local part = added(decode(string.sub(old.columns, i, i + 7)), decode(string.sub(columns, i, i + 7)))
    if not part then return false, nil end
    words[#words + 1] = encode(part)
  end
  return true, sum, table.concat(words)
end

local plans, changes = {}, not meta
for at = 6, #ARGV, width + 2 do
  local member, words = ARGV[at], {}
  for i = 2, width do words[#words + 1] = encode(tonumber(ARGV[at + i])) end
  local old = current(member, prefixes[#plans + 2])
  local accepted, score, columns = decided(old, tonumber(ARGV[at + 1]), table.concat(words))
  if not score then
    return redis.error_reply('PRECISION a float64 cannot hold the sum of the scores of ' .. member)
  end
  local moved = score ~= old.score or columns ~= old.columns
  local payload = accepted and ARGV[at + width + 1] or ''
  if payload ~= '' then redis.call('HLEN', data) end
  state[member] = {score = score, columns = columns}
  plans[#plans + 1] = {member = member, accepted = accepted, moved = moved, data = payload,
    old = old, new = state[member]}
  changes = changes or moved
end

local stamp = 0
if stamped then
  -- Each stamp is later than the last, whatever the clock does, so no two are the same.
  local now = redis.call('TIME')
  local last = meta and tonumber(string.sub(meta, #config + 2)) or 0
  stamp = math.max(now[1] * 1000000 + now[2] - 1, last)
end

local function key_prefix(columns)
  if not stamped then return columns end
  stamp = stamp + 1
  return columns .. struct.pack('>I7', tie_break == 'earliest' and stamp or 2 ^ 53 - stamp)
end

local fresh = {}

local function move(member, old, new)
  local prefix = key_prefix(new.columns)
  new.key = prefix .. member
  if old.key and old.key ~= new.key then redis.call('ZREM', scores, old.key) end
  redis.call('ZADD', scores, text(new.score), new.key)
  if prefix ~= '' then
    fresh[#fresh + 1] = member
    fresh[#fresh + 1] = prefix
  end
  if not dense then return end
  redis.call('ZADD', ties, text(new.score), tie_name(new.score, new.columns))
  if old.key then drop_empty_tie(scores, ties, old.score, old.columns) end
end

local replies = {}
for i, plan in ipairs(plans) do
  local old, new = plan.old, plan.new
  local old_rank = old.key and rank_of(method, scores, ties, old.key, old.score, old.columns)
  local rank = old_rank
  new.key = old.key
  if plan.moved then
    move(plan.member, old, new)
    rank = rank_of(method, scores, ties, new.key, new.score, new.columns)
  end
  if plan.data ~= '' then redis.call('HSET', data, plan.member, plan.data) end
  replies[i] = {
    plan.accepted and 1 or 0, new.key, text(new.score), rank,
    old.key or false, old.key and text(old.score) or false, old_rank or false,
  }
end
if changes then
  fresh[#fresh + 1] = ''
  fresh[#fresh + 1] = config .. ' ' .. string.format('%d', stamp)
  for at = 1, #fresh, 4000 do
    redis.call('HSET', entries, unpack(fresh, at, math.min(at + 3999, #fresh)))
  end
end
return replies
