-- record.lua: record one score of one column, and say only whether the board took it
-- KEYS[1] scores: {base}:scores (sorted set)
-- KEYS[2] entries: {base}:entries (hash)
-- ARGV[1] config: the board's configuration
-- ARGV[2] keep: best|last|first
-- ARGV[3] ties: earliest|latest|member
-- ARGV[4] member
-- ARGV[5] score: its score (lower is better)
-- returns 1 if accepted, else 0; or {AGAIN} where the board has bans or is a season, so that
--   submit_all.lua has to be asked

local scores, entries, config, keep = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
local member, score = ARGV[4], ARGV[5]

local meta, prefix
if ARGV[3] == 'member' then
  meta = redis.call('HGET', entries, '')
else
  meta, prefix = unpack(redis.call('HMGET', entries, '', member))
end
local last = not meta and 0
if meta and string.sub(meta, 1, #config + 1) == config .. ' ' then
  last = tonumber(string.sub(meta, #config + 2))
end
if not last then
-- @include board.lua
  return mismatch(meta, config) or {'AGAIN'}
end

local changed = 1
if ARGV[3] == 'member' then
  if keep == 'last' then
    redis.call('ZADD', scores, score, member)
  else
    changed = redis.call('ZADD', scores, keep == 'best' and 'LT' or 'NX', 'CH', score, member)
  end
  if not meta then redis.call('HSET', entries, '', config .. ' 0') end
else
  local old = prefix and redis.call('ZSCORE', scores, prefix .. member)
  if old then
    local new, best = tonumber(score), tonumber(old)
    if keep == 'first' or (keep == 'best' and new >= best) then return 0 end
    if new == best then return 1 end
  end
  -- Each stamp is later than the last, whatever the clock does, so no two are the same.
  local now = redis.call('TIME')
  local stamp = math.max(now[1] * 1000000 + now[2], last + 1)
  local start = struct.pack('>I7', ARGV[3] == 'earliest' and stamp or 2 ^ 53 - stamp)
  redis.call('ZADD', scores, score, start .. member)
  if old then redis.call('ZREM', scores, prefix .. member) end
  local words = config .. ' ' .. string.format('%d', stamp)
  redis.call('HSET', entries, member, start, '', words)
  if old then return 1 end
end
-- A set that is a new one does not know yet when it expires.
if changed == 1 and redis.call('ZCARD', scores) == 1 then
  local expires = redis.call('PEXPIRETIME', entries)
  if expires > 0 then redis.call('PEXPIREAT', scores, expires) end
end
return changed
