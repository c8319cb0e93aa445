-- alter.lua: change who stands on the tables of a board, other than by a submission
-- KEYS[1..] tables: {base}:... (eight keys each)
--   and behind them rules (hash), audit (stream), events (stream) and watching (hash)
-- ARGV[1] board: what is constant about the board and the tables that are offered, as msgpack
-- ARGV[2] change: clear|remove|ban|shadow_ban|unban|watch|unwatch|annotate|undo|trim|remove_scores
-- ARGV[3..] what: members, of the first six | member, data or "" | audit id | how many entries stay
--   | the best score, the worst score
-- returns how many were changed, or {AGAIN, the time of which a table is missing}
-- @include board.lua
-- @include places.lua
-- @include columns.lua
-- @include tables.lua
-- @include news.lua

local shape, change = cmsgpack.unpack(ARGV[1]), ARGV[2]
local trail, news = shape.trail, shape.news
local own, time = #KEYS - 4, redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local at, members = now, {}
for i = 3, #ARGV do members[i - 2] = ARGV[i] end

if change == 'undo' then
  local found = redis.call('XRANGE', KEYS[own + 2], ARGV[3], ARGV[3])[1]
  if not found then return 0 end
  local told = {}
  for i = 1, #found[2], 2 do told[found[2][i]] = found[2][i + 1] end
  if told.kind ~= 'submitted' then return 0 end
  members, at = {told.member}, tonumber(told.time)
elseif change == 'annotate' then
  members = {ARGV[3]}
end

local tables = tables_at(shape, KEYS, 1, at, now)
if not tables then return {'AGAIN', at} end
if not tables[1] then return 0 end
if change == 'clear' then
  local gone = 0
  for _, t in ipairs(tables) do gone = gone + unlink(t) end
  if tables[1].kind == '' then
    gone = gone + redis.call('UNLINK', KEYS[own + 1], KEYS[own + 2], KEYS[own + 3], KEYS[own + 4])
  end
  return gone > 0 and 1 or 0
end
local main, told = tables[1], nil
for _, t in ipairs(tables) do
  local uses = {data = true, past = true, banned = true, watched = news}
  local wrong = check(shape, t, uses) or closed(t, now)
  if wrong then return wrong end
  if news and t.kind == news.table then told = t end
end
redis.call('HLEN', KEYS[own + 1])
if trail then redis.call('XLEN', KEYS[own + 2]) end
redis.call('XLEN', KEYS[own + 3])
redis.call('HLEN', KEYS[own + 4])

if change == 'trim' or change == 'remove_scores' then
  members, tables = members_of(shape, main, change == 'trim', ARGV[3], ARGV[4]), {main}
  if told ~= main then told = nil end
elseif change == 'watch' then
  local added = 0
  for _, member in ipairs(members) do
    if redis.call('HEXISTS', KEYS[own + 4], member) == 0 then added = added + 1 end
  end
  if redis.call('HLEN', KEYS[own + 4]) + added > 1000 then
    return redis.error_reply('ERR a board has at most 1,000 watched members')
  end
end

-- From here on it is written.
local before, watched, stood
if told then
  told.watching, told.was, stood = {}, {}, {}
  local low = math.huge
  for _, member in ipairs(members) do
    local there = standing(shape, told, member)
    told.watching[member] = redis.call('HEXISTS', KEYS[own + 4], member) == 1
    stood[member] = there and {rank_now(shape, told, member), there[2], there[1]}
    if there then low = math.min(low, tonumber(there[2])) end
  end
  -- Whoever comes back may come in anywhere.
  if change == 'unban' or change == 'undo' then low = -math.huge end
  if change ~= 'watch' and change ~= 'unwatch' and change ~= 'annotate' and low < math.huge then
    watched = low == -math.huge and '-inf' or text(low)
    before = seen(shape, told, news.top, watched, '+inf')
  end
end

-- Takes a submission out of what a member did, and returns what is left and what was taken.
local function without(past, id)
  for i, one in ipairs(past[2]) do
    if one[7] == id then
      table.remove(past[2], i)
      return outcome(shape, past), one
    end
  end
end

local changes = {}
function changes.remove(t, member)
  local was = take_off(shape, t, member)
  drop_past(t, member)
  local banned = t.banned_before[member]
  if banned then keep_banned(t, member, false, banned[2]) end
  return was and true
end
changes.trim, changes.remove_scores = changes.remove, changes.remove

function changes.ban(t, member)
  local banned, shadow = t.banned_before[member], ARGV[2] == 'shadow_ban'
  if banned then
    keep_banned(t, member, banned[1], shadow)
    return t == main and banned[2] ~= shadow
  end
  local was = take_off(shape, t, member)
  drop_due(t, member)
  keep_banned(t, member, was, shadow)
  return t == main
end

changes.shadow_ban = changes.ban

function changes.unban(t, member)
  local was = t.banned_before[member]
  if not was then return false end
  drop_banned(t, member)
  local state = was[1]
  if t.length then
    local past = past_of(t, member)
    forget_old(past, now, t.length)
    state = outcome(shape, past)
    if state then keep_past(t, member, past) else drop_past(t, member) end
  end
  put_on(shape, t, member, state)
  return t == main
end

function changes.annotate(t, member)
  if not standing(shape, t, member) then return false end
  if trail or t.length then
    local past = past_with_base(shape, t, member)
    remember(shape, t, past, {'', '', false, ARGV[4] ~= '' and ARGV[4], 'note', now, false})
    keep_past(t, member, past)
  end
  if ARGV[4] == '' then drop_data(t, member) else keep_data(t, member, ARGV[4]) end
  return true
end

function changes.watch(t, member)
  if t == told then
    told.watching[member] = true
    local there = standing(shape, t, member)
    if there then watch(t, there) end
  end
  return t == main and redis.call('HSET', KEYS[own + 4], member, '') == 1
end

function changes.unwatch(t, member)
  local there = t == told and standing(shape, t, member)
  if there then unwatch(t, there) end
  return t == main and redis.call('HDEL', KEYS[own + 4], member) == 1
end

local last_left
function changes.undo(t, member)
  local past = past_of(t, member)
  local was = outcome(shape, past)
  if t.length then forget_old(past, now, t.length) end
  local state, gone = without(past, ARGV[3])
  if not gone then return false end
  if past[1] or past[2][1] then keep_past(t, member, past) else drop_past(t, member) end
  if t == main then last_left = past[2][#past[2]] end
  if t.banned_before[member] then
    drop_due(t, member)
    keep_banned(t, member, state, t.banned_before[member][2])
    return true
  end
  move(shape, t, member, state)
  if state then follow_data(t, member, was, state) else drop_data(t, member) end
  return true
end

local changed, names = 0, {}
for _, t in ipairs(tables) do
  if t.length then evict(shape, t, now, 1000) end
  t.banned_before = {}
  for _, member in ipairs(members) do
    t.banned_before[member] = get_banned(t, member)
  end
end
for _, member in ipairs(members) do
  local any = false
  for _, t in ipairs(tables) do any = changes[change](t, member) or any end
  if any then
    changed = changed + 1
    names[#names + 1] = member
  end
end
for _, t in ipairs(tables) do
  if change == 'unban' then t.bans = any_banned(t) and '1' or '0' end
  finish(shape, t)
end
if change == 'undo' and changed == 1 then
  local known = redis.call('HGET', KEYS[own + 1], members[1])
  if known then
    local last = cmsgpack.unpack(known)
    local when = last_left and last_left[6] or 0
    redis.call('HSET', KEYS[own + 1], members[1], cmsgpack.pack({when, last[2] - 1}))
  end
elseif main.kind == '' and changes[change] == changes.remove then
  for _, member in ipairs(names) do redis.call('HDEL', KEYS[own + 1], member) end
end
if trail and change ~= 'watch' and change ~= 'unwatch' and change ~= 'annotate' then
  for _, member in ipairs(names) do
    redis.call('XADD', KEYS[own + 2], 'MAXLEN', '~', trail.most, '*',
      'kind', change, 'member', member, 'of', change == 'undo' and ARGV[3] or '',
      'time', string.format('%d', now))
  end
end
if before then
  local after, reported = seen(shape, told, news.top, watched, '+inf'), {}
  for _, member in ipairs(names) do
    local there = standing(shape, told, member)
    local is, was = there and {rank_now(shape, told, member), there[2], there[1]}, stood[member]
    if (was and was[3]) ~= (is and is[3]) or (is and tonumber(was[2]) ~= tonumber(is[2])) then
      local one = {is and 'changed' or 'removed', member, was, is}
      reported[#reported + 1], reported[member] = one, one
    end
  end
  report(shape, told, KEYS[own + 3], news.most, before, after, reported)
end
return changed
