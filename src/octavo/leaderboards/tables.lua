-- tables.lua: the tables of a board: who stands on each, why, and how that changes
-- A member's past on a table is packed: what its oldest submissions came to, or false, and a list
-- of the later ones. A state is {score, columns, stamp, payload or false}; a submission is such a
-- state, too, behind which come {.., keep, microseconds, id}. An annotation's keep is "note".

-- The tables whose time it is, one of each kind that is offered. Nil when a kind is offered, but
-- no table of it that is of this time.
local function tables_at(shape, keys, first, at, now)
  local found, kinds = {}, {}
  for i, spec in ipairs(shape.tables) do
    local current = not spec.starts or (spec.starts <= at and at < spec.ends)
    if kinds[spec.kind] == nil then kinds[spec.kind] = false end
    if current and not kinds[spec.kind] then
      kinds[spec.kind] = true
      local there = {
        kind = spec.kind, length = spec.length, step = spec.step, expires = spec.expires,
        changes = {}, on = {},
      }
      local before = first - 1 + #shape.fields * (i - 1)
      for j, field in ipairs(shape.fields) do there[field] = keys[before + j] end
      -- What is past its time is no table any more.
      if not spec.expires or spec.expires * 1000 > now then found[#found + 1] = there end
    end
  end
  for _, is_there in pairs(kinds) do
    if not is_there then return nil end
  end
  return found
end

-- Whether a submission counts beside what a member has, and the score and columns it then has.
-- No score means that a float64 cannot hold the sum.
local function decide(shape, keep, old, score, columns)
  if not old then return true, score, columns end
  if keep == 'sum' then
    if shape.decays then return true, sum_of_powers(old[1], score), '' end
    return true, sum_of(old[1], score), columns_sum(old[2], columns)
  end
  if keep == 'last' then return true, score, columns end
  if keep == 'best' then
    local new, best = tonumber(score), tonumber(old[1])
    if new < best or (new == best and less(columns, old[2])) then return true, score, columns end
  end
  return false, old[1], old[2]
end

-- What a past comes to; nil for nothing.
local function outcome(shape, past)
  local state = past[1] or nil
  for _, one in ipairs(past[2]) do
    if one[5] == 'note' then
      state = state and {state[1], state[2], state[3], one[4]}
    else
      local counts, score, columns = decide(shape, one[5], state, one[1], one[2])
      -- A sum that only another order of the same numbers could hold stays what it was.
      if not (score and columns) then score, columns = state[1], state[2] end
      local same = state and tonumber(score) == tonumber(state[1]) and columns == state[2]
      local payload = counts and one[4] or (state and state[4])
      state = {score, columns, same and state[3] or one[3], payload or false}
    end
  end
  return state
end

-- Takes from the past of a member of a rolling window what is over by now.
local function forget_old(past, now, length)
  while past[2][1] and past[2][1][6] + length <= now do table.remove(past[2], 1) end
end

local function past_of(t, member)
  local packed = redis.call('HGET', t.past, member)
  return packed and cmsgpack.unpack(packed) or {false, {}}
end

-- Writes down the past of a member, and on a rolling window when the first of it will be over.
local function keep_past(t, member, past)
  redis.call('HSET', t.past, member, cmsgpack.pack(past))
  if t.length then
    redis.call('ZADD', t.due, string.format('%d', past[2][1][6] + t.length), member)
  end
end

local function get_data(t, member) return redis.call('HGET', t.data, member) end
local function keep_data(t, member, payload) redis.call('HSET', t.data, member, payload) end
local function drop_data(t, member) redis.call('HDEL', t.data, member) end

-- What a banned member would stand for, {state or false, whether it is not to know of the ban};
-- false for who is not banned.
local function get_banned(t, member)
  local packed = t.bans == '1' and redis.call('HGET', t.banned, member)
  return packed and cmsgpack.unpack(packed)
end

local function drop_due(t, member)
  if t.length then redis.call('ZREM', t.due, member) end
end
local function drop_past(t, member)
  redis.call('HDEL', t.past, member)
  drop_due(t, member)
end
local function keep_banned(t, member, state, shadow)
  t.bans = '1'
  redis.call('HSET', t.banned, member, cmsgpack.pack({state or false, shadow}))
end
local function drop_banned(t, member) redis.call('HDEL', t.banned, member) end
local function any_banned(t) return redis.call('EXISTS', t.banned) == 1 end
local function watch(t, there) redis.call('ZADD', t.watched, there[2], there[1]) end
local function unwatch(t, there) redis.call('ZREM', t.watched, there[1]) end

-- The members from a place on, counted from 0, or those from one score to another.
local function members_of(shape, t, by_place, from, to)
  local members = by_place and redis.call('ZRANGE', t.scores, from, -1)
    or redis.call('ZRANGEBYSCORE', t.scores, from, to)
  for i, found in ipairs(members) do members[i] = string.sub(found, shape.prefix + 1) end
  return members
end

-- Adds a submission to a past. The hundred last ones are kept one by one if they can be undone.
-- Before these, neighbours of one step of a window become one; elsewhere, all of them do. No window
-- keeps more than 250 of a member.
local function remember(shape, t, past, one)
  local list = past[2]
  list[#list + 1] = one
  local at = #list - (shape.trail and math.min(100, shape.trail.most) or 0)
  if not t.length then
    if at > 0 then past[1] = outcome(shape, {past[1], {table.remove(list, 1)}}) end
    return
  end
  if at > 0 then list[at][7] = false end
  if #list > 250 then
    local first = outcome(shape, {false, {list[1], list[2]}})
    if first then
      list[2] = {first[1], first[2], first[3], first[4], 'last', list[2][6], false}
    end
    table.remove(list, 1)
    return
  end
  local older, newer = list[at - 1], list[at]
  if not (older and older[5] == newer[5]) then return end
  if newer[5] == 'note' then
    table.remove(list, at - 1)
    return
  end
  local same_step = math.floor(older[6] / t.step) == math.floor(newer[6] / t.step)
  if same_step then
    local merged = outcome(shape, {false, {older, newer}})
    for i = 1, 4 do newer[i] = merged[i] end
  end
  -- A best score that came before a better one will never count again, but its data may.
  local beaten = newer[5] == 'best' and decide(shape, 'best', older, newer[1], newer[2])
  if same_step or (beaten and (newer[4] or not older[4])) then
    table.remove(list, at - 1)
  end
end

-- What stands on a table of a member: {key, score, columns}, or false.
local function standing(shape, t, member)
  local found = t.on[member]
  if found ~= nil then return found end
  local prefix = shape.prefix == 0 and '' or redis.call('HGET', t.entries, member)
  local score = prefix and redis.call('ZSCORE', t.scores, prefix .. member)
  found = score and {prefix .. member, score, string.sub(prefix, 1, shape.columns)} or false
  t.on[member] = found
  return found
end

-- Checks a table before the first write: what it was made as, whether it takes writes, and that
-- every key that is used holds what it should. Returns an error or nothing.
local function check(shape, t, uses)
  t.meta = redis.call('HGET', t.entries, '')
  local wrong = mismatch(t.meta, (shape.season and t.kind == '' and '!' or '') .. shape.config)
  if wrong then return wrong end
  local rest = t.meta and string.sub(t.meta, #shape.config + 2) or '0'
  local stamp, opens, closes, bans = string.match(rest, '^(%d+) (%S+) (%S+) (%d)')
  t.stamp = tonumber(stamp or rest)
  t.opens, t.closes, t.bans = opens or '-', closes or '-', bans or '0'
  t.fresh = {}
  local function look(wanted, command, name)
    if wanted and t[name] and redis.call(command, t[name]) == 0 then
      t.fresh[#t.fresh + 1] = t[name]
    end
  end
  look(true, 'ZCARD', 'scores')
  look(not t.meta, 'HLEN', 'entries')
  look(shape.dense, 'ZCARD', 'ties')
  look(uses.data or t.length or t.bans == '1', 'HLEN', 'data')
  look(uses.past or t.length, 'HLEN', 'past')
  look(t.length, 'ZCARD', 'due')
  look(uses.banned or t.bans == '1', 'HLEN', 'banned')
  look(uses.watched, 'ZCARD', 'watched')
  if t.fresh[1] and not t.expires then t.expires = expires_at(t.entries) end
end

-- A table is closed to changes before it opens, and from when it closes.
local function closed(t, now)
  if t.opens ~= '-' and now < tonumber(t.opens) then
    return redis.error_reply('CLOSED the season has not begun')
  end
  if t.closes ~= '-' and now >= tonumber(t.closes) then
    return redis.error_reply('CLOSED the season is over')
  end
end

-- Has a member stand somewhere else, or nowhere: {score, columns, stamp, payload}, or nil.
local function move(shape, t, member, state)
  local old = standing(shape, t, member)
  local new = false
  if state then
    local prefix = state[2]
    if shape.stamped then prefix = prefix .. struct.pack('>I7', state[3]) end
    new = {prefix .. member, state[1], state[2]}
  end
  local same = old and new and old[1] == new[1] and tonumber(old[2]) == tonumber(new[2])
  if same or not (old or new) then return end
  t.touched = true
  -- A key that is empty in between would be gone, and its TTL with it.
  if new then
    redis.call('ZADD', t.scores, new[2], new[1])
    if t.watching and t.watching[member] then redis.call('ZADD', t.watched, new[2], new[1]) end
  end
  if old and not (new and old[1] == new[1]) then
    redis.call('ZREM', t.scores, old[1])
    if t.watching then redis.call('ZREM', t.watched, old[1]) end
  end
  if new then
    if shape.prefix > 0 then t.changes[member] = string.sub(new[1], 1, shape.prefix) end
  else
    t.changes[member] = false
  end
  if shape.dense then
    if new then redis.call('ZADD', t.ties, new[2], tie_name(new[2], new[3])) end
    if old then drop_empty_tie(t.scores, t.ties, old[2], old[3]) end
  end
  t.on[member] = new
end

-- The state of a member that stands on a table, or false.
local function state_now(shape, t, member)
  local there = standing(shape, t, member)
  if not there then return false end
  local stamp = false
  if shape.stamped then
    stamp = struct.unpack('>I7', string.sub(there[1], shape.columns + 1, shape.prefix))
  end
  return {there[2], there[3], stamp, get_data(t, member)}
end

-- The past of a member, which begins with where it stands if nothing is known.
local function past_with_base(shape, t, member)
  local past = past_of(t, member)
  if not t.length and not (past[1] or past[2][1]) then past[1] = state_now(shape, t, member) end
  return past
end

-- Takes a member off a table, and returns the state it had, or false.
local function take_off(shape, t, member)
  local state = state_now(shape, t, member)
  if not state then return false end
  move(shape, t, member, nil)
  drop_data(t, member)
  return state
end

local function put_on(shape, t, member, state)
  if not state then return end
  move(shape, t, member, state)
  if state[4] then keep_data(t, member, state[4]) end
end

local function rank_now(shape, t, member)
  local there = standing(shape, t, member)
  return there and rank_of(shape.method, t.scores, t.ties, there[1], there[2], there[3])
end

-- Has the data beside a score be what is left of a past says, unless it was changed since.
local function follow_data(t, member, was, state)
  local before, after = was and was[4] or false, state and state[4] or false
  if before == after or (get_data(t, member) or false) ~= before then return end
  if after then keep_data(t, member, after) else drop_data(t, member) end
end

local function unlink(t)
  return redis.call('UNLINK', t.scores, t.entries, t.ties, t.data, t.past, t.due, t.banned,
    t.watched)
end

-- Takes what is over off a rolling window, of so many members at most; returns whether more is.
local function evict(shape, t, now, most)
  local now_text = string.format('%d', now)
  local over = redis.call('ZRANGEBYSCORE', t.due, '-inf', now_text, 'LIMIT', 0, most)
  for _, member in ipairs(over) do
    local past = past_of(t, member)
    local was = outcome(shape, past)
    forget_old(past, now, t.length)
    local state = outcome(shape, past)
    move(shape, t, member, state)
    if state then
      follow_data(t, member, was, state)
      keep_past(t, member, past)
    else
      redis.call('HDEL', t.past, member)
      redis.call('HDEL', t.data, member)
      redis.call('ZREM', t.due, member)
    end
  end
  return #over == most
end

local function expire_at(key, milliseconds)
  redis.call('PEXPIREAT', key, milliseconds)
end

-- Writes down what has changed about a table: prefixes, the last stamp, and when it expires.
local function finish(shape, t)
  if not (t.meta or t.touched or t.bans == '1') then return end
  local words, gone = {}, {}
  for member, prefix in pairs(t.changes) do
    if prefix then
      words[#words + 1] = member
      words[#words + 1] = prefix
    else
      gone[#gone + 1] = member
    end
  end
  for at = 1, #gone, 4000 do
    redis.call('HDEL', t.entries, unpack(gone, at, math.min(at + 3999, #gone)))
  end
  local meta = shape.config .. ' ' .. string.format('%d', t.stamp)
  if t.opens ~= '-' or t.closes ~= '-' or t.bans ~= '0' then
    meta = meta .. ' ' .. t.opens .. ' ' .. t.closes .. ' ' .. t.bans
  end
  if meta ~= t.meta then
    words[#words + 1] = ''
    words[#words + 1] = meta
  end
  for at = 1, #words, 4000 do
    redis.call('HSET', t.entries, unpack(words, at, math.min(at + 3999, #words)))
  end
  if t.expires then
    for _, name in ipairs(t.fresh) do expire_at(name, t.expires) end
  end
end
