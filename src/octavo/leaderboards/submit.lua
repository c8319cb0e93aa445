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
-- returns for each submission {1 if accepted, key, score, rank, old key, old score, old rank}, or
--   {AGAIN} where the board has bans or is a season, so that submit_all.lua has to be asked

-- One score of one column without data, most often. It goes before the functions that are included
-- below: to make them at each run costs as much as some of the commands.
local config, keep, method = ARGV[1], ARGV[2], ARGV[3]
if #ARGV == 8 and ARGV[5] == '1' and ARGV[8] == '' and keep ~= 'sum'
  and (method == 'competition' or method == 'ordinal') then
  local scores, entries, tie_break = KEYS[1], KEYS[2], ARGV[4]
  local member, score = ARGV[6], ARGV[7]
  local found = redis.call('HMGET', entries, '', member)
  local meta, prefix = found[1], tie_break == 'member' and '' or found[2]
  local last = meta and string.sub(meta, 1, #config + 1) == config .. ' '
    and tonumber(string.sub(meta, #config + 2))
  if last then
    local key = prefix and prefix .. member
    local old, old_rank = key and redis.call('ZSCORE', scores, key), false
    local old_key = old and key
    if old then
      if method == 'ordinal' then
        old_rank = redis.call('ZRANK', scores, key) + 1
      else
        old_rank = redis.call('ZCOUNT', scores, '-inf', '(' .. old) + 1
      end
      local new, best = tonumber(score), tonumber(old)
      local accepted = keep == 'last' or (keep == 'best' and new < best)
      if not accepted or new == best then
        return {{accepted and 1 or 0, key, old, old_rank, key, old, old_rank}}
      end
    end
    key = member
    if tie_break ~= 'member' then
      local now = redis.call('TIME')
      local stamp = math.max(now[1] * 1000000 + now[2], last + 1)
      prefix = struct.pack('>I7', tie_break == 'earliest' and stamp or 2 ^ 53 - stamp)
      key = prefix .. member
      redis.call('ZADD', scores, score, key)
      if old then redis.call('ZREM', scores, old_key) end
      local words = config .. ' ' .. string.format('%d', stamp)
      redis.call('HSET', entries, member, prefix, '', words)
    else
      redis.call('ZADD', scores, score, key)
    end
    local rank
    if method == 'ordinal' then
      rank = redis.call('ZRANK', scores, key) + 1
    else
      rank = redis.call('ZCOUNT', scores, '-inf', '(' .. score) + 1
    end
    -- The set is a new one, and does not know yet when it expires.
    if rank == 1 and not old and redis.call('ZCARD', scores) == 1 then
      local expires = redis.call('PEXPIRETIME', entries)
      if expires > 0 then redis.call('PEXPIREAT', scores, expires) end
    end
    return {{1, key, score, rank, old_key, old, old_rank}}
  end
end
-- @include board.lua
-- @include places.lua

local scores, entries, ties, data = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local tie_break = ARGV[4]
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
local last = not meta and 0 or tonumber(string.sub(meta, #config + 2))
if not last then return {'AGAIN'} end
-- The first write is to the scores; a wrong type behind the other keys must show before it.
local fresh = redis.call('ZCARD', scores) == 0
if dense then redis.call('ZCARD', ties) end
if payloads then fresh = redis.call('HLEN', data) == 0 or fresh end

-- The columns of each submission after the first, and its sum where sums are kept. Sums are all
-- made before the first write: they are what can fail.
local columns, sums = {}, {}
if width > 1 or keep == 'sum' then
-- @include columns.lua
  local latest = {}
  for i = 2, #names do
    local member, at = names[i], 6 + (i - 2) * step
    local score, words = ARGV[at + 1], {}
    for column = 2, width do words[column - 1] = encode(ARGV[at + column]) end
    columns[i] = table.concat(words)
    if keep == 'sum' then
      local old = latest[member]
      if not old then
        local prefix = bare and '' or prefixes[i]
        local has = prefix and redis.call('ZSCORE', scores, prefix .. member)
        old = has and {has, string.sub(prefix, 1, bytes)}
      end
      if old then
        score, columns[i] = sum_of(old[1], score), columns_sum(old[2], columns[i])
        if not (score and columns[i]) then
          return redis.error_reply('PRECISION a float64 cannot hold the new sum of ' .. member)
        end
      end
      sums[i] = score
      latest[member] = {score, columns[i]}
    end
  end
end

local stamp = 0
if stamped then
  -- Each stamp is later than the last, whatever the clock does, so no two are the same.
  local now = redis.call('TIME')
  stamp = math.max(now[1] * 1000000 + now[2] - 1, last)
end

local moved, changes, replies = {}, {}, {}
local unchanged = meta
for i = 2, #names do
  local member, at = names[i], 6 + (i - 2) * step
  local prefix = bare and '' or moved[member] or prefixes[i]
  local old = prefix and redis.call('ZSCORE', scores, prefix .. member)
  local score, tail, payload = sums[i] or ARGV[at + 1], columns[i] or '', ARGV[at + width + 1]
  local accepted, same, old_key, old_tail, old_rank = true, false, false, '', false
  if old then
    old_key = prefix .. member
    if bytes > 0 then old_tail = string.sub(prefix, 1, bytes) end
    old_rank = rank_of(method, scores, ties, old_key, old, old_tail)
    local new, best = tonumber(score), tonumber(old)
    if keep == 'best' then
      accepted = new < best or (new == best and less(tail, old_tail))
    elseif keep == 'first' then
      accepted = false
    end
    same = not accepted or (new == best and tail == old_tail)
  end
  local key, rank = old_key, old_rank
  if same then
    score = old
  else
    unchanged = unchanged and bare
    local start = tail
    if stamped then
      stamp = stamp + 1
      start = tail .. struct.pack('>I7', tie_break == 'earliest' and stamp or 2 ^ 53 - stamp)
    end
    key = start .. member
    redis.call('ZADD', scores, score, key)
    if old and key ~= old_key then redis.call('ZREM', scores, old_key) end
    if not bare then
      moved[member] = start
      changes[#changes + 1] = member
      changes[#changes + 1] = start
    end
    if dense then
      redis.call('ZADD', ties, score, tie_name(score, tail))
      if old then drop_empty_tie(scores, ties, old, old_tail) end
    end
    rank = rank_of(method, scores, ties, key, score, tail)
  end
  if accepted and payload ~= '' then redis.call('HSET', data, member, payload) end
  replies[i - 1] = {accepted and 1 or 0, key, score, rank, old_key, old, old_rank}
end

if not unchanged then
  changes[#changes + 1] = ''
  changes[#changes + 1] = config .. ' ' .. string.format('%d', stamp)
  for at = 1, #changes, 4000 do
    redis.call('HSET', entries, unpack(changes, at, math.min(at + 3999, #changes)))
  end
end
local expires = fresh and expires_at(entries)
if expires then
  redis.call('PEXPIREAT', scores, expires)
  redis.call('PEXPIREAT', ties, expires)
  redis.call('PEXPIREAT', data, expires)
end
return replies
