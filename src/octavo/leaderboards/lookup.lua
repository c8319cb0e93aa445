-- lookup.lua: find members: their scores, ranks and data
-- KEYS[1] scores: {base}:scores (sorted set)
-- KEYS[2] entries: {base}:entries (hash)
-- KEYS[3] ties: {base}:ties (sorted set)
-- KEYS[4] data: {base}:data (hash)
-- ARGV[1] config: the board's configuration
-- ARGV[2] rank: ordinal|competition|modified|fractional|dense, or "" for none
-- ARGV[3] prefix: how many bytes of a key stand before the member
-- ARGV[4] columns: how many of those are columns
-- ARGV[5] wants: data | count | ""
-- ARGV[6..] the members
-- returns {members on the board or false, for each member {key, score, rank, data} or false}

-- One member of a board of one column, most often. It goes before the functions that are included
-- below: to make them at each run costs more than to look the member up.
local config, method = ARGV[1], ARGV[2]
if #ARGV == 6 and ARGV[4] == '0' then
  local scores, member = KEYS[1], ARGV[6]
  local found = redis.call('HMGET', KEYS[2], '', member)
  local meta, prefix = found[1], ARGV[3] == '0' and '' or found[2]
  if meta and string.sub(meta, 1, #config + 1) == config .. ' ' then
    local key = prefix and prefix .. member
    local score = key and redis.call('ZSCORE', scores, key)
    local rank, total, payload = false, false, false
    if ARGV[5] == 'count' then total = redis.call('ZCARD', scores) end
    if not score then return {total, false} end
    if method == 'competition' then
      rank = redis.call('ZCOUNT', scores, '-inf', '(' .. score) + 1
    elseif method == 'ordinal' then
      rank = redis.call('ZRANK', scores, key) + 1
    elseif method == 'dense' then
      local tie = tonumber(score) == 0 and '0' or string.format('%.17g', score)
      rank = redis.call('ZRANK', KEYS[3], ':' .. tie) + 1
    elseif method ~= '' then
      rank = redis.call('ZCOUNT', scores, '-inf', score)
      if method == 'fractional' then
        rank = (rank + redis.call('ZCOUNT', scores, '-inf', '(' .. score) + 1) / 2
        rank = string.format('%.17g', rank)
      end
    end
    if ARGV[5] == 'data' then payload = redis.call('HGET', KEYS[4], member) end
    return {total, {key, score, rank, payload}}
  end
end
-- @include board.lua
-- @include places.lua

local scores, entries, ties, data = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local bytes = tonumber(ARGV[4])

local names, keys, numbers = {''}, {}, {}
for at = 6, #ARGV do names[at - 4] = ARGV[at] end
local bare = ARGV[3] == '0'
local prefixes = bare and {redis.call('HGET', entries, '')} or fields(entries, names)
local wrong = mismatch(prefixes[1], ARGV[1])
if wrong then return wrong end

for i = 2, #names do
  local prefix = bare and '' or prefixes[i]
  if prefix then
    keys[#keys + 1] = prefix .. names[i]
    numbers[i] = #keys
  end
end
local found = {}
for at = 1, #keys, 4000 do
  local some = redis.call('ZMSCORE', scores, unpack(keys, at, math.min(at + 3999, #keys)))
  for i = 1, #some do found[at + i - 1] = some[i] end
end
local payloads = {}
if ARGV[5] == 'data' and redis.call('EXISTS', data) == 1 then payloads = fields(data, names) end

local replies = {ARGV[5] == 'count' and redis.call('ZCARD', scores)}
for i = 2, #names do
  local key, score = keys[numbers[i]], found[numbers[i]]
  if score then
    local rank = method ~= ''
      and rank_of(method, scores, ties, key, score, string.sub(key, 1, bytes))
    replies[i] = {key, score, rank, payloads[i] or false}
  else
    replies[i] = false
  end
end
return replies
