-- season.lua: open a season, or close it
-- KEYS[1] entries: {base}:entries (hash)
-- KEYS[2] seasons: {base}:seasons (hash)
-- ARGV[1] config: the board's configuration
-- ARGV[2] change: open|close
-- ARGV[3] name: of the season
-- ARGV[4] opens: microseconds since 1970, or "-" for now
-- ARGV[5] closes: microseconds since 1970, or "-" for when it is closed
-- returns 1, or 0 when it was open, or closed, already
-- @include board.lua

local meta, time = redis.call('HGET', KEYS[1], ''), redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local opens, closes, rest = ARGV[4], ARGV[5], '0'
local stamp = '0'
if ARGV[2] == 'open' then
  if meta then return mismatch(meta, ARGV[1]) or 0 end
  if opens == '-' then opens = string.format('%d', now) end
  if closes ~= '-' and tonumber(closes) <= math.max(tonumber(opens), now) then
    return redis.error_reply('CLOSED a season that is over takes no scores: closes is past')
  end
else
  local wrong = mismatch(meta, '!' .. ARGV[1])
  if wrong then return wrong end
  local found = {string.match(string.sub(meta, #ARGV[1] + 2), '^(%d+) (%S+) (%S+) (%d)')}
  stamp, opens, closes, rest = found[1], found[2], found[3], found[4]
  if closes ~= '-' and tonumber(closes) <= now then return 0 end
  closes = string.format('%d', now)
end
redis.call('HSET', KEYS[2], ARGV[3], opens .. ' ' .. closes)
-- What was closed stays so, though the clock be put back.
if ARGV[2] == 'close' then closes = '0' end
redis.call('HSET', KEYS[1], '', table.concat({ARGV[1], stamp, opens, closes, rest}, ' '))
return 1
