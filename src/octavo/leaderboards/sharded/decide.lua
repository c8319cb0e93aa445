-- decide.lua: decide which scores members have, and note which shards are to be told
-- KEYS[1] members: {home}:members (hash)
-- KEYS[2] moves: {home}:moves (hash)
-- ARGV[1] config: the board's configuration
-- ARGV[2] keep: best|last|sum|first, or remove, or touch and repair, which change nothing
-- ARGV[3] ties: earliest|latest
-- ARGV[4] grace: microseconds after which the moves of others are taken over by repair
-- ARGV[5..] for each member, of whom none may be twice: member, place or ""
-- returns for each {1 if accepted, entry before or "", entry now or "", id of the move or "",
--   the moves of others}
-- @include ../board.lua

local members, moves = KEYS[1], KEYS[2]
local keep, ties, grace = ARGV[2], ARGV[3], tonumber(ARGV[4])
local none = string.rep('\0', 15)

local names = {''}
for at = 5, #ARGV, 2 do names[#names + 1] = ARGV[at] end
local entries = fields(members, names)
local wrong = mismatch(entries[1], ARGV[1])
if wrong then return wrong end
local others = redis.call('HLEN', moves) > 0 and fields(moves, names) or {}

-- Places first: sums are what can fail.
local accepted, places = {}, {}
for i = 2, #names do
  local given = tonumber(ARGV[2 * i + 2])
  if not given then
    accepted[i] = keep == 'remove' and entries[i]
  elseif not entries[i] then
    accepted[i], places[i] = true, given
  elseif keep ~= 'first' then
    local old, new = struct.unpack('>d', entries[i]), given
    if keep == 'sum' then
      new = old + given
      if new - new ~= 0 or (given ~= 0 and new == old) then
        return redis.error_reply('PRECISION a float64 cannot hold the new sum of ' .. names[i])
      end
    end
    accepted[i] = keep ~= 'best' or new < old
    if accepted[i] and new ~= old then places[i] = new end
  end
end

-- Each stamp is later than the last, whatever the clock does, so no two of a home are the same.
local now = redis.call('TIME')
local meta = entries[1]
local last = meta and tonumber(string.sub(meta, #ARGV[1] + 2)) or 0
local stamp = math.max(now[1] * 1000000 + now[2] - 1, last)
local due = stamp - grace

local changed, gone, noted, replies = {}, {}, {}, {}
for i = 2, #names do
  local member, old = names[i], entries[i] or ''
  local new, id, pending = old, '', others[i] or ''
  if places[i] then
    stamp = stamp + 1
    local prefix = struct.pack('>I7', ties == 'earliest' and stamp or 2 ^ 53 - stamp)
    new = struct.pack('>d', places[i]) .. prefix
    changed[#changed + 1] = member
    changed[#changed + 1] = new
  elseif accepted[i] and keep == 'remove' then
    new = ''
    gone[#gone + 1] = member
  end
  local help = pending ~= '' and (keep ~= 'repair' or struct.unpack('>I7', pending) <= due)
  if new ~= old or help or keep == 'touch' then
    stamp = stamp + 1
    id = struct.pack('>I7', stamp)
    noted[#noted + 1] = member
    noted[#noted + 1] = pending .. id .. (old == '' and none or old) .. (new == '' and none or new)
  end
  replies[i - 1] = {accepted[i] and 1 or 0, old, new, id, pending}
end

if #noted > 0 then
  changed[#changed + 1] = ''
  changed[#changed + 1] = ARGV[1] .. ' ' .. string.format('%d', stamp)
  for at = 1, #noted, 4000 do
    redis.call('HSET', moves, unpack(noted, at, math.min(at + 3999, #noted)))
  end
  for at = 1, #changed, 4000 do
    redis.call('HSET', members, unpack(changed, at, math.min(at + 3999, #changed)))
  end
  for at = 1, #gone, 4000 do
    redis.call('HDEL', members, unpack(gone, at, math.min(at + 3999, #gone)))
  end
end
return replies
