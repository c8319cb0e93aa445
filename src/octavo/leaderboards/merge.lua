-- merge.lua: replace a table by the union or the intersection of others
-- KEYS[1] scores: {base}:scores (sorted set)
-- KEYS[2] entries: {base}:entries (hash)
-- KEYS[3] ties: {base}:ties (sorted set)
-- KEYS[4] data: {base}:data (hash)
-- KEYS[5] past: {base}:past (hash)
-- KEYS[6] due: {base}:due (sorted set)
-- KEYS[7] banned: {base}:banned (hash)
-- KEYS[8] watched: {base}:watched (sorted set)
-- KEYS[9..] sources: {base}:scores|{base}:entries|{base}:data (sorted set or hash)
-- ARGV[1] config: the board's configuration
-- ARGV[2] prefix: how many bytes of a key stand before the member
-- ARGV[3] columns: how many of those are columns
-- ARGV[4] of: any|all, the sources that a member has to be on
-- ARGV[5] aggregate: sum|best|worst|first|last
-- ARGV[6] starts: from when the sources are the right ones, in microseconds since 1970
-- ARGV[7] ends: until when
-- ARGV[8..] weights: of the sources
-- returns how many members the table has now, or {AGAIN, the time for which sources are wanted}
-- @include board.lua
-- @include places.lua
-- @include columns.lua

local scores, entries, ties, data = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local config, width, bytes, aggregate = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[5]
local everywhere, sources = ARGV[4] == 'all', #ARGV - 7
local dense = string.find(config, ' dense', 1, true) ~= nil
local latest = string.find(config, ' latest ', 1, true) ~= nil
local decays = string.find(config, '~', 1, true) ~= nil
local AT_ONCE = 2000

local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
if now < tonumber(ARGV[6]) or now >= tonumber(ARGV[7]) then return {'AGAIN', now} end

-- All is read and worked out before the first write: it may fail, and the table may be a source.
local last, more, expires = 0, '', redis.call('PEXPIRETIME', entries)
local function refused(hash)
  local meta = redis.call('HGET', hash, '')
  local wrong = mismatch(meta, config)
  if wrong or not meta then return wrong end
  local stamp, behind = string.match(string.sub(meta, #config + 2), '^(%d+)(.*)$')
  last = math.max(last, stamp)
  if hash == entries then more = behind end
end
local wrong = refused(entries)
if wrong then return wrong end
redis.call('ZCARD', scores)
redis.call('ZCARD', ties)
redis.call('HLEN', data)
local bans = redis.call('HLEN', KEYS[7]) > 0
local plain = width == 0 and not (dense or bans) and (aggregate == 'best' or aggregate == 'worst')
local union = {sources}
for source = 1, sources do
  local at = 3 * source + 6
  wrong = refused(KEYS[at + 1])
  if wrong then return wrong end
  plain = plain and redis.call('HLEN', KEYS[at + 2]) == 0 and tonumber(ARGV[source + 7]) == 1
  union[source + 1] = KEYS[at]
end

local function replaced()
  redis.call('HSET', entries, '', config .. ' ' .. string.format('%d', last) .. more)
  if expires < 0 then return end
  redis.call('PEXPIREAT', scores, expires)
  redis.call('PEXPIREAT', entries, expires)
  redis.call('PEXPIREAT', ties, expires)
  redis.call('PEXPIREAT', data, expires)
end

-- What the server has a command for, which rounds nothing: lower is better, so the best is MIN.
if plain then
  union[#union + 1] = 'AGGREGATE'
  union[#union + 1] = aggregate == 'best' and 'MIN' or 'MAX'
  local members = redis.call(everywhere and 'ZINTERSTORE' or 'ZUNIONSTORE', scores, unpack(union))
  redis.call('UNLINK', entries, data, KEYS[5], KEYS[6], KEYS[8])
  replaced()
  return members
end

-- What is known of each member, by its number: the last source it was found on, and what it has.
local numbers, names, found, lost = {}, {}, {}, {}
local places, tails, stamps, times, payloads = {}, {}, {}, {}, {}

local function put(number, place, tail, stamp, time)
  places[number], tails[number], stamps[number], times[number] = place, tail, stamp, time
end

-- Whether what a source has of a member is taken, and not what others have of it.
local function wins(number, place, tail, time)
  if aggregate == 'first' then return time < times[number] end
  if aggregate == 'last' or aggregate == 'sum' then return time >= times[number] end
  local new, old = tonumber(place), tonumber(places[number])
  if new == old and tail == tails[number] then return time < times[number] end
  return (new < old or (new == old and less(tail, tails[number]))) == (aggregate == 'best')
end

-- A score that a float64 cannot hold is an error if its member is there in the end.
local function take(source, member, place, tail, stamp, payload)
  local time = stamp == '' and 0 or struct.unpack('>I7', stamp) * (latest and -1 or 1)
  local number = numbers[member]
  if not number then
    if everywhere and source > 1 then return end
    number = #names + 1
    numbers[member], names[number], found[number], payloads[number] = number, member, 1, payload
    lost[number] = not (place and tail)
    put(number, place, tail, stamp, time)
    return
  end
  if everywhere and found[number] < source - 1 then return end
  found[number] = source
  lost[number] = lost[number] or not (place and tail)
  if lost[number] then return end
  local taken = wins(number, place, tail, time)
  payloads[number] = taken and payload or payloads[number] or payload
  if aggregate == 'sum' then
    place = (decays and sum_of_powers or sum_of)(places[number], place)
    if bytes > 0 then tail = columns_sum(tails[number], tail) end
    lost[number] = not (place and tail)
    places[number], tails[number] = place, tail
  end
  if taken then put(number, place, tail, stamp, time) end
end

-- A place times a weight as text, or nil where a float64 cannot hold it.
local function weighted(place, weight)
  if decays then return text(place - math.log(weight) / math.log(2)) end
  local product = place * weight
  if product - product ~= 0 or (product == 0 and place + 0 ~= 0 and weight ~= 0) then return nil end
  return text(product)
end

local function columns_weighted(words, weight)
  if words == '' then return words end
  local all = {}
  for i = 1, #words, 8 do
    local product = weighted(decode(string.sub(words, i, i + 7)), weight)
    if not product then return nil end
    all[#all + 1] = encode(product)
  end
  return table.concat(all)
end

for source = 1, sources do
  local at, weight = 3 * source + 6, tonumber(ARGV[source + 7])
  local with_data = redis.call('HLEN', KEYS[at + 2]) > 0
  for first = 0, redis.call('ZCARD', KEYS[at]) - 1, AT_ONCE do
    local rows = redis.call('ZRANGE', KEYS[at], first, first + AT_ONCE - 1, 'WITHSCORES')
    local members = {}
    for i = 1, #rows, 2 do members[#members + 1] = string.sub(rows[i], width + 1) end
    local values = with_data and fields(KEYS[at + 2], members)
    for i, member in ipairs(members) do
      local key, place = rows[2 * i - 1], rows[2 * i]
      local tail = bytes > 0 and string.sub(key, 1, bytes) or ''
      local stamp = width > bytes and string.sub(key, bytes + 1, width) or ''
      local payload = values and values[i]
      if weight ~= 1 then place, tail = weighted(place, weight), columns_weighted(tail, weight) end
      take(source, member, place, tail, stamp, payload)
    end
  end
end

local function stays(number)
  if everywhere and found[number] < sources then return false end
  return not (bans and redis.call('HEXISTS', KEYS[7], names[number]) == 1)
end

for number, member in ipairs(names) do
  if lost[number] and stays(number) then
    return redis.error_reply('PRECISION a float64 cannot hold the new score of ' .. member)
  end
end

local function write(command, key, words)
  for at = 1, #words, 4000 do
    redis.call(command, key, unpack(words, at, math.min(at + 3999, #words)))
  end
end

redis.call('UNLINK', scores, entries, ties, data, KEYS[5], KEYS[6], KEYS[8])
local members = 0
for first = 1, #names, AT_ONCE do
  local keys, prefixes, distinct, beside = {}, {}, {}, {}
  for number = first, math.min(first + AT_ONCE - 1, #names) do
    if stays(number) then
      local member, place, tail = names[number], places[number], tails[number]
      local prefix = tail .. stamps[number]
      members = members + 1
      keys[#keys + 1], keys[#keys + 2] = place, prefix .. member
      if width > 0 then prefixes[#prefixes + 1], prefixes[#prefixes + 2] = member, prefix end
      if dense then
        distinct[#distinct + 1], distinct[#distinct + 2] = place, tie_name(place, tail)
      end
      if payloads[number] then
        beside[#beside + 1], beside[#beside + 2] = member, payloads[number]
      end
    end
  end
  write('ZADD', scores, keys)
  write('HSET', entries, prefixes)
  write('ZADD', ties, distinct)
  write('HSET', data, beside)
end
replaced()
return members
