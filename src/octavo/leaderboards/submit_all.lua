-- submit_all.lua: record scores in every table of a board, by its rules, and say what came of it
-- KEYS[1..] tables: {base}:... (as many each as the board needs)
--   and behind them rules (hash), audit (stream), events (stream) and watching (hash)
-- ARGV[1] board: what is constant about the board and the tables that are offered, as msgpack
-- ARGV[2] keep: best|last|sum|first
-- ARGV[3] at: when it happened, in microseconds since 1970, or "" for now
-- ARGV[4..] for each submission: member, its scores (lower is better), data or ""
-- returns {AGAIN, time in microseconds} where no table offered is of that time or more than a
--   thousand members have to leave a window first, {AGAIN} where all keys are needed, {AGAIN, time,
--   refused} where all are, "" for those in the future, or {time,
--   {{member, reason}, ...} of those refused, {audit id or false, ...} of the others,
--   {kind, {what submit.lua returns, ...}} for each table}
-- @include board.lua
-- @include places.lua
-- @include columns.lua
-- @include tables.lua
-- @include news.lua

local shape, keep = cmsgpack.unpack(ARGV[1]), ARGV[2]
local rules, trail, news = shape.rules, shape.trail, shape.news
local own, time = #KEYS - 4, redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local at = tonumber(ARGV[3]) or now
-- A client's clock may be a little ahead.
if at > now + 60000000 then return {'AGAIN', now, ''} end
at = math.min(at, now)
local tables = tables_at(shape, KEYS, 1, at, now)
if not tables then return {'AGAIN', at} end

-- What is asked for.
local step, asked, uses = shape.width + 2, {}, {past = trail, data = trail, watched = news}
for i = 4, #ARGV, step do
  local words, score = {}, ARGV[i + 1]
  for column = 2, shape.width do words[column - 1] = encode(ARGV[i + column]) end
  if shape.decays then score = text(score - at / shape.decays) end
  local payload = ARGV[i + shape.width + 1]
  uses.data = uses.data or payload ~= ''
  asked[#asked + 1] = {
    member = ARGV[i], score = score, columns = table.concat(words),
    payload = payload ~= '' and payload,
  }
end

for _, t in ipairs(tables) do
  local wrong = check(shape, t, uses) or closed(t, now)
  if wrong then return wrong end
  uses.banned = uses.banned or t.bans == '1'
  uses.data = uses.data or uses.banned
end
local main = tables[1]
if main.bans == '1' then
  if not main.banned then return {'AGAIN'} end
  -- Whoever is not to know of a ban is let in for as long as the script runs.
  for _, one in ipairs(asked) do
    local banned = get_banned(main, one.member)
    one.banned, one.shadow = banned and not banned[2], banned and banned[2]
  end
end
if trail then redis.call('XLEN', KEYS[own + 2]) end
local told
if news then
  redis.call('XLEN', KEYS[own + 3])
  for _, t in ipairs(tables) do
    if t.kind == news.table then
      told = t
      told.watching, told.was = {}, {}
      for _, one in ipairs(asked) do
        told.watching[one.member] = redis.call('HEXISTS', KEYS[own + 4], one.member) == 1
      end
    end
  end
end

for _, t in ipairs(tables) do
  if t.length then
    local more = evict(shape, t, now, 1000)
    -- Nothing follows an atomic batch, so there it is now or never.
    while more and shape.atomic do more = evict(shape, t, now, 1000) end
    finish(shape, t)
    t.changes = {}
    if more then return {'AGAIN', now} end
  end
end

-- What is to happen, table by table, before anything else is written.
local refused, counted, low, high = {}, {}, math.huge, -math.huge
local states, tries = {}, {}
local function state_of(t, member)
  local known = states[t] or {}
  states[t] = known
  if known[member] == nil then
    local banned = main.bans == '1' and not t.length and get_banned(t, member)
    if banned then
      known[member] = banned[1]
    elseif t.length then
      local past = past_of(t, member)
      forget_old(past, now, t.length)
      known[member] = outcome(shape, past) or false
    else
      local there = standing(shape, t, member)
      known[member] = there and {there[2], there[3]}
    end
  end
  return known[member]
end

-- Why a submission is refused; nil if it is not.
local function reason_against(one, counts, score)
  if one.banned then return 'banned' end
  if not rules then return nil end
  local value = tonumber(score) * shape.sign
  if shape.decays then value = 2 ^ (value - at / shape.decays) end
  -- What decays is rounded, and may be on a bound.
  local slack = shape.decays and 1e-9 or 0
  if rules.lowest and value * (1 + slack) < rules.lowest then return 'lowest' end
  if rules.highest and value * (1 - slack) > rules.highest then return 'highest' end
  local old = state_of(main, one.member)
  if rules.max_step and counts and old
    and math.abs(value - tonumber(old[1]) * shape.sign) > rules.max_step then
    return 'max_step'
  end
  local last = tries[one.member]
  if not last then
    local known = redis.call('HGET', KEYS[own + 1], one.member)
    last = known and cmsgpack.unpack(known) or {0, 0}
    tries[one.member] = last
  end
  -- A clock that was put back keeps nobody out for longer than the interval.
  if rules.min_interval and last[2] > 0 and math.abs(now - last[1]) < rules.min_interval then
    return 'min_interval'
  end
  if rules.max_submissions and last[2] >= rules.max_submissions then return 'max_submissions' end
  last[1], last[2], last.changed = now, last[2] + 1, true
end

for i, one in ipairs(asked) do
  local plans = {}
  for _, t in ipairs(tables) do
    local old = state_of(t, one.member)
    local counts, score, columns = decide(shape, keep, old, one.score, one.columns)
    if not (score and columns) then
      return redis.error_reply('PRECISION a float64 cannot hold the new sum of ' .. one.member)
    end
    plans[t] = {counts, score, columns, old}
  end
  local first = plans[main]
  one.reason = reason_against(one, first[1], first[1] and first[2] or one.score)
  if one.reason then
    refused[#refused + 1] = {one.member, one.reason}
  else
    for _, t in ipairs(tables) do states[t][one.member] = {plans[t][2], plans[t][3]} end
    counted[#counted + 1] = i
    one.plans = plans
    if told and not one.shadow then
      local plan = plans[told]
      local was, is = plan[4] and tonumber(plan[4][1]) or math.huge, tonumber(plan[2])
      if was ~= is or plan[4][2] ~= plan[3] then
        low, high = math.min(low, was, is), math.max(high, was, is)
        -- Among dense ranks a tie that comes or goes moves all that are behind.
        if shape.dense then high = math.huge end
      end
    end
  end
end

-- From here on it is written.
local before, stood = nil, {}
if told and low <= high then
  for _, i in ipairs(counted) do
    local member = asked[i].member
    local there = standing(shape, told, member)
    stood[member] = there and {rank_now(shape, told, member), there[2]}
  end
  low, high = low == -math.huge and '-inf' or text(low), high == math.huge and 'inf' or text(high)
  before = seen(shape, told, news.top, low, high)
end
for member, last in pairs(tries) do
  if last.changed then
    redis.call('HSET', KEYS[own + 1], member, cmsgpack.pack({last[1], last[2]}))
  end
end

local ids, kept, reported = {}, {}, {}
for i, one in ipairs(asked) do
  local score, columns = one.score, one.columns
  ids[i] = false
  if trail then
    ids[i] = redis.call('XADD', KEYS[own + 2], 'MAXLEN', '~', trail.most, '*',
      'kind', one.reason and 'refused' or 'submitted', 'member', one.member, 'keep', keep,
      'score', score, 'columns', columns, 'reason', one.reason or '',
      'time', string.format('%d', at))
  end
  if one.plans then kept[#kept + 1] = ids[i] end
end

if #counted == 0 then return {'AGAIN', now, refused} end

local replies = {}
for _, t in ipairs(tables) do
  local rows = {}
  t.stamp = shape.stamped and math.max(now - 1, t.stamp) or t.stamp
  for _, i in ipairs(counted) do
    local one = asked[i]
    local plan, member = one.plans[t], one.member
    if one.shadow then put_on(shape, t, member, (get_banned(t, member) or {})[1]) end
    local old, old_rank = standing(shape, t, member), rank_now(shape, t, member)
    local same = old and tonumber(plan[2]) == tonumber(old[2]) and plan[3] == old[3]
    local stamp = false
    if shape.stamped and (not same or trail or t.length) then
      t.stamp = t.stamp + 1
      stamp = shape.latest and 2 ^ 53 - t.stamp or t.stamp
    end
    if trail or t.length then
      local past = past_with_base(shape, t, member)
      if t.length then forget_old(past, now, t.length) end
      local submission = {one.score, one.columns, stamp, one.payload, keep, now, ids[i]}
      remember(shape, t, past, submission)
      keep_past(t, member, past)
    end
    if not same then move(shape, t, member, {plan[2], plan[3], stamp}) end
    if plan[1] and one.payload then keep_data(t, member, one.payload) end
    local there, rank = t.on[member], rank_now(shape, t, member)
    rows[#rows + 1] = {
      plan[1] and 1 or 0, there[1], there[2], rank, old and old[1], old and old[2], old_rank,
    }
    if one.shadow then
      drop_due(t, member)
      keep_banned(t, member, take_off(shape, t, member), true)
    elseif t == told and not same then
      if not reported[member] then reported[#reported + 1] = {'changed', member, stood[member]} end
      reported[member], t.was[member] = true, stood[member]
    end
  end
  finish(shape, t)
  replies[#replies + 1] = {t.kind, rows}
end
if before then
  for _, one in ipairs(reported) do
    one[4] = {rank_now(shape, told, one[2]), told.on[one[2]][2]}
  end
  local after = seen(shape, told, news.top, low, high)
  report(shape, told, KEYS[own + 3], news.most, before, after, reported)
end
return {now, refused, kept, unpack(replies)}
