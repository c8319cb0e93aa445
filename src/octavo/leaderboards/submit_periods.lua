-- submit_periods.lua: record one score of one column in the tables of all time and of periods
-- KEYS[1..] tables: {base}:... (scores and entries of each)
-- ARGV[1] config: the board's configuration
-- ARGV[2] keep: best|last|sum|first
-- ARGV[3] rank: competition|ordinal, or "" for none
-- ARGV[4] ties: earliest|latest|member
-- ARGV[5] at: when it happened, in microseconds since 1970, or "" for now
-- ARGV[6] member
-- ARGV[7] score: its score (lower is better)
-- ARGV[8..] for each table: kind, start and end of its period in microseconds, or "" and "", when
--   it expires in milliseconds, or ""
-- returns what submit_all.lua does, or {AGAIN} where that has to be asked

-- What boards with periods are asked most often, in as few words as that takes: submit_all.lua does
-- the same and all else.
local config, keep, method, stamped = ARGV[1], ARGV[2], ARGV[3], ARGV[4] ~= 'member'
local member, score = ARGV[6], ARGV[7]
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local at = tonumber(ARGV[5]) or now
if at > now + 60000000 then return {'AGAIN'} end
at = math.min(at, now)

local tables, kinds, missing = {}, {}, 0
for i = 1, #KEYS / 2 do
  local word = 4 * i + 4
  local kind, starts = ARGV[word], tonumber(ARGV[word + 1])
  if not kinds[kind] then
    if kinds[kind] == nil then
      kinds[kind], missing = false, missing + 1
    end
    if not starts or (starts <= at and at < tonumber(ARGV[word + 2])) then
      kinds[kind], missing = true, missing - 1
      local expires = tonumber(ARGV[word + 3])
      -- What is past its time is no table any more.
      if not expires or expires * 1000 > now then
        tables[#tables + 1] = {at = 2 * i - 1, kind = kind, expires = expires}
      end
    end
  end
end
if missing > 0 then return {'AGAIN', at} end

for _, t in ipairs(tables) do
  local place = t.at
  local found = redis.call('HMGET', KEYS[place + 1], '', member)
  local meta, prefix = found[1], stamped and found[2] or ''
  local last = 0
  if meta then
    last = string.sub(meta, 1, #config + 1) == config .. ' '
      and tonumber(string.sub(meta, #config + 2))
    if not last then return {'AGAIN'} end
  end
  local old = prefix and redis.call('ZSCORE', KEYS[place], prefix .. member)
  t.last, t.meta, t.old, t.old_key = last, meta, old, old and prefix .. member
  t.fresh = not old and redis.call('ZCARD', KEYS[place]) == 0
  t.accepted, t.score = true, score
  if old then
    local new, best = tonumber(score), tonumber(old)
    if keep == 'sum' then
      local sum = best + new
      if sum - sum ~= 0 or (new ~= 0 and sum == best) then return {'AGAIN'} end
      t.score = sum == 0 and '0' or string.format('%.17g', sum)
      new = sum
    elseif keep == 'first' or (keep == 'best' and new >= best) then
      t.accepted, t.score = false, old
    end
    t.same = not t.accepted or new == best
  end
end

local reply = {now, {}, {false}}
for i, t in ipairs(tables) do
  local scores, entries = KEYS[t.at], KEYS[t.at + 1]
  local key, old_rank = t.old_key, false
  if t.old and method ~= '' then
    old_rank = method == 'ordinal' and redis.call('ZRANK', scores, key) + 1
      or redis.call('ZCOUNT', scores, '-inf', '(' .. t.old) + 1
  end
  local rank = old_rank
  if not t.same then
    local stamp, prefix = 0, ''
    if stamped then
      stamp = math.max(now, t.last + 1)
      prefix = struct.pack('>I7', ARGV[4] == 'earliest' and stamp or 2 ^ 53 - stamp)
    end
    key = prefix .. member
    redis.call('ZADD', scores, t.score, key)
    if t.old and t.old_key ~= key then redis.call('ZREM', scores, t.old_key) end
    if stamped then
      redis.call('HSET', entries, member, prefix, '', config .. ' ' .. string.format('%d', stamp))
    elseif not t.meta then
      redis.call('HSET', entries, '', config .. ' 0')
    end
    if t.fresh then
      local expires = t.expires or redis.call('PEXPIRETIME', entries)
      if expires > 0 then
        redis.call('PEXPIREAT', scores, expires)
        redis.call('PEXPIREAT', entries, expires)
      end
    end
    if method ~= '' then
      rank = method == 'ordinal' and redis.call('ZRANK', scores, key) + 1
        or redis.call('ZCOUNT', scores, '-inf', '(' .. t.score) + 1
    end
  end
  reply[i + 3] = {t.kind, {
    {t.accepted and 1 or 0, key, t.same and t.old or t.score, rank, t.old_key, t.old, old_rank},
  }}
end
return reply
