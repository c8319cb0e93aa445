-- meters.lua: what subjects have used of each rule, and when more of it fits

local GCRA, FIXED, SLIDING, SEGMENTED, LOG, QUOTA, CONCURRENCY = 1, 2, 3, 4, 5, 6, 7
-- Rules whose state is in a list or a sorted set of their own.
local APART, EXACT, VERSION = { [LOG] = true, [CONCURRENCY] = true }, 2 ^ 53, 1

local function whole(a, b)
  return (a - math.fmod(a, b)) / b
end

local function whole_up(a, b)
  local rest = math.fmod(a, b)
  return rest == 0 and a / b or (a - rest) / b + 1
end

-- Numbers read from a list or a sorted set are as old as the meter's last write.
local function listed(meter, number)
  return number and tonumber(number) - meter.shift
end

-- Rules as they are sent and stored: the version of all this, how many, three numbers of each, then
-- the rest of each.
local function read_rules(packed, at)
  local rules = {}
  local version, count = string.byte(packed, at, at + 1)
  if version ~= VERSION then error('limits were stored by another version of octavo') end
  at = at + 2
  for i = 1, count do
    local rule = { shift = 0 }
    rule.x, rule.y, rule.z, at = struct.unpack('>I7I7I7', packed, at)
    rules[i] = rule
  end
  for i = 1, count do
    local rule = rules[i]
    rule.kind, rule.flags, rule.key, rule.own, rule.name, at =
      struct.unpack('>BBBBBc0', packed, at)
    rule.shadow, rule.policy = rule.flags % 2 == 1, math.floor(rule.flags / 2)
  end
  return rules, at
end

local function pack_rules(rules)
  local numbers, names = {}, {}
  for i, rule in ipairs(rules) do
    numbers[i] = struct.pack('>I7I7I7', rule.x, rule.y, rule.z)
    names[i] = struct.pack('>BBBBBc0', rule.kind, rule.flags, 1, 0, #rule.name, rule.name)
  end
  return string.char(VERSION, #rules) .. table.concat(numbers) .. table.concat(names)
end

-- How many of the log's times are over at a time.
local function over(meter, at)
  local oldest = listed(meter, redis.call('LINDEX', meter.own, 0))
  if not oldest or oldest + meter.y > at then return 0 end
  local low, high = 1, redis.call('LLEN', meter.own)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if listed(meter, redis.call('LINDEX', meter.own, middle)) + meter.y <= at then
      low = middle + 1
    else
      high = middle
    end
  end
  return low
end

-- Let time pass.
local function age(meter, at)
  local kind = meter.kind
  if kind == GCRA then
    meter.b = math.max(0, meter.b - (at - meter.a) * meter.x)
    meter.a = at
  elseif kind == FIXED then
    if at >= meter.a + meter.y then
      meter.a, meter.b = at, 0
    end
  elseif kind == QUOTA then
    local start = at >= meter.stop and meter.stop or meter.start
    if meter.a < start then
      meter.a, meter.b = start, 0
    end
  elseif kind == SLIDING then
    local window = meter.y * meter.z
    if at >= meter.a + 2 * window then
      meter.a, meter.b, meter.c = at, 0, 0
    elseif at >= meter.a + window then
      meter.a, meter.b, meter.c = meter.a + window, 0, meter.b
    end
  elseif kind == SEGMENTED then
    local newest = whole(at, meter.y)
    local passed = math.min(newest - meter.a, meter.z + 1)
    if passed > 0 then
      for i = meter.z + 1, 1, -1 do
        meter.counts[i] = i > passed and meter.counts[i - passed] or 0
      end
      meter.a = newest
    end
  end
end

local function sum(counts, from)
  local total = 0
  for i = from, #counts do
    total = total + counts[i]
  end
  return total
end

-- When everybody has to wait until, because it is booked.
local function since(meter)
  local kind = meter.kind
  if kind == SEGMENTED then
    return meter.a * meter.y
  elseif kind == LOG then
    return listed(meter, redis.call('LINDEX', meter.own, -1)) or 0
  end
  return (kind == GCRA or kind == CONCURRENCY) and 0 or meter.a
end

-- From when on a cost fits; nil if it never does. The meter is of age.
local function earliest(meter, cost, now)
  local kind, at = meter.kind, math.max(now, since(meter))
  if kind == GCRA then
    if meter.x == 0 or cost > meter.z / meter.y then return nil end
    local excess = meter.b + cost * meter.y - meter.z
    return excess > 0 and at + whole_up(excess, meter.x) or at
  end
  local limit = meter.x
  if cost > limit then return nil end
  if kind == FIXED then
    return meter.b + cost <= limit and at or meter.a + meter.y
  elseif kind == QUOTA then
    if meter.b + cost <= limit then return at end
    return meter.a == meter.start and meter.stop or meter.next
  elseif kind == SLIDING then
    local start, before, room = meter.a, meter.c, limit - meter.b - cost
    if room < 0 then
      start, before, room = start + meter.y * meter.z, meter.b, limit - cost
    end
    local ticks = before > 0 and meter.z - whole(room * meter.z, before) or 0
    return math.max(at, start + ticks * meter.y)
  elseif kind == SEGMENTED then
    local total, left = 0, meter.z + 1
    for i = 1, meter.z + 1 do
      total = total + meter.counts[i]
      if total > limit - cost then
        left = i - 1
        break
      end
    end
    return left > meter.z and at or (meter.a + meter.z + 1 - left) * meter.y
  elseif kind == LOG then
    local last = listed(meter, redis.call('LINDEX', meter.own, cost - limit - 1))
    return last and math.max(at, last + meter.y) or at
  end
  local from = string.format('(%.0f', now + meter.shift)
  local excess = redis.call('ZCOUNT', meter.own, from, '+inf') + cost - limit
  if excess <= 0 then return at end
  return listed(meter, redis.call('ZRANGE', meter.own, from, '+inf', 'BYSCORE', 'LIMIT',
    excess - 1, 1, 'WITHSCORES')[2])
end

-- The largest cost that fits now.
local function left(meter, now)
  local kind, room = meter.kind
  if since(meter) > now then return 0 end
  if kind == GCRA then
    room = whole(math.max(0, meter.z - meter.b), meter.y)
  elseif kind == FIXED or kind == QUOTA then
    room = meter.x - meter.b
  elseif kind == SLIDING then
    local ticks = meter.z - whole(now - meter.a, meter.y)
    room = meter.x - meter.b - whole_up(meter.c * ticks, meter.z)
  elseif kind == SEGMENTED then
    room = meter.x - sum(meter.counts, 1)
  elseif kind == LOG then
    room = meter.x - redis.call('LLEN', meter.own) + over(meter, now)
  else
    room = meter.x
      - redis.call('ZCOUNT', meter.own, string.format('(%.0f', now + meter.shift), '+inf')
  end
  return math.max(0, room)
end

-- When nothing is left of what was used or booked; 0 if nothing was.
local function over_at(meter)
  local kind, ends = meter.kind, 0
  if kind == GCRA then
    ends = meter.b > 0 and meter.x > 0 and meter.a + whole_up(meter.b, meter.x) or 0
  elseif kind == FIXED then
    ends = meter.b > 0 and meter.a + meter.y or 0
  elseif kind == QUOTA then
    ends = meter.b > 0 and (meter.a == meter.start and meter.stop or meter.next) or 0
  elseif kind == SLIDING then
    local windows = meter.b > 0 and 2 or meter.c > 0 and 1 or 0
    ends = windows > 0 and meter.a + windows * meter.y * meter.z or 0
  elseif kind == SEGMENTED then
    for i = meter.z + 1, 1, -1 do
      if meter.counts[i] > 0 then ends = (meter.a + meter.z + 2 - i) * meter.y end
    end
  elseif kind == LOG then
    return (listed(meter, redis.call('LINDEX', meter.own, -1)) or -meter.y) + meter.y
  else
    return listed(meter, redis.call('ZRANGE', meter.own, -1, -1, 'WITHSCORES')[2]) or 0
  end
  return math.max(ends, since(meter))
end

-- Keep a list or a sorted set for as long as it matters.
local function keep(meter)
  redis.call('PEXPIREAT', meter.own, string.format('%.0f', math.ceil(over_at(meter) / 1e3)))
end

-- Have the numbers of a list or a sorted set be as a clock says that was put back.
local function shift_back(meter)
  if meter.shift == EXACT then return end
  if meter.shift == 0 then return keep(meter) end
  if meter.kind == LOG then
    local times = redis.call('LRANGE', meter.own, 0, -1)
    redis.call('DEL', meter.own)
    for _, time in ipairs(times) do
      redis.call('RPUSH', meter.own, string.format('%.0f', listed(meter, time)))
    end
  else
    local ends = redis.call('ZRANGE', meter.own, 0, -1, 'WITHSCORES')
    for i = 1, #ends, 2 do
      redis.call('ZADD', meter.own, string.format('%.0f', listed(meter, ends[i + 1])), ends[i])
    end
  end
  meter.shift = 0
  keep(meter)
end

local function forget(meter)
  redis.call('DEL', meter.own)
end

-- Have a cost used at a time; `id` names the places it takes.
local function charge(meter, cost, at, now, id)
  local kind = meter.kind
  meter.changed = true
  age(meter, at)
  if (kind == FIXED or kind == SLIDING) and meter.b == 0 and meter.c == 0 then meter.a = at end
  if kind == GCRA then
    -- More than may be owed is not passed by a call, but by a settlement.
    meter.b = math.min(meter.b + cost * meter.y, EXACT)
  elseif kind == SEGMENTED then
    meter.counts[1] = meter.counts[1] + cost
  elseif kind == LOG then
    redis.call('LTRIM', meter.own, over(meter, now), -1)
    meter.shift = 0
    local times = {}
    for i = 1, cost do
      times[#times + 1] = string.format('%.0f', at)
      if #times == 1000 or i == cost then
        redis.call('RPUSH', meter.own, unpack(times))
        times = {}
      end
    end
  elseif kind == CONCURRENCY then
    redis.call('ZREMRANGEBYSCORE', meter.own, '-inf', string.format('%.0f', now))
    for i = 1, cost do
      redis.call('ZADD', meter.own, string.format('%.0f', at + meter.y), id .. ':' .. i)
    end
  else
    meter.b = meter.b + cost
  end
  if kind == LOG or kind == CONCURRENCY then keep(meter) end
end

-- Have what is left of units not be used, of those that were charged at a time; `mark` tells the
-- state then. Of a debt time pays the oldest part first: what stood before a charge is what was
-- owed then, less what was given back since, at most all of it.
local function give_back(meter, units, charged, at, mark, now)
  local kind, was = meter.kind, meter.was or meter
  meter.changed = true
  if was.policy == 1 then
    -- They are of a plan of which the same share is used of this one.
    local most, before = meter.x, was.x
    if kind == GCRA then
      most, before = meter.z / meter.y, was.z / was.y
    end
    units = before > 0 and math.floor(units * most / before) or 0
  end
  if kind == GCRA then
    local own = charged * was.y
    local before = meter.was and 0 or math.max(0, mark - own - meter.c)
    local unpaid = math.max(0, own - math.max(0, (now - at) * was.x - before))
    unpaid = meter.was and math.floor(unpaid / was.y * meter.y) or unpaid
    local back = math.min(units * meter.y, unpaid, meter.b)
    meter.b, meter.c = meter.b - back, meter.c + back
    if meter.c > EXACT / 2 then
      meter.c, meter.born = 0, now  -- what was charged before is not given back any more
    end
  elseif kind == SLIDING and mark == meter.a - meter.y * meter.z then
    meter.c = math.max(0, meter.c - units)
  elseif kind == SEGMENTED then
    local i = meter.a - mark + 1
    if meter.counts[i] and not meter.was then
      meter.counts[i] = math.max(0, meter.counts[i] - units)
    end
  elseif kind == LOG then
    redis.call('LREM', meter.own, units, string.format('%.0f', at))
  elseif mark == meter.a then
    meter.b = math.max(0, meter.b - units)
  end
end

-- Free places, those after the first `from`.
local function release(meter, from, to, id)
  for place = from + 1, to do
    redis.call('ZREM', meter.own, id .. ':' .. place)
  end
end

local function begin(meter, now)
  meter.a, meter.b, meter.c, meter.born = now, 0, 0, now
  if meter.kind == QUOTA then
    meter.a = meter.start
  elseif meter.kind == SEGMENTED then
    meter.a, meter.counts = whole(now, meter.y), {}
    for i = 1, meter.z + 1 do meter.counts[i] = 0 end
  end
end

-- What was used by other numbers of the same rule, in terms of these.
local function carry(meter, old, now)
  local kind, policy = meter.kind, meter.policy
  if policy == 2 then
    begin(meter, now)
    meter.shift = kind == LOG and EXACT or meter.shift  -- its times were long ago
    return
  end
  local function share(count, new, before)
    if before == 0 then return 0 end
    return whole(count, before) * new + whole_up(math.fmod(count, before) * new, before)
  end
  local function counted(count)
    return policy == 0 and count or share(count, meter.x, old.x)
  end
  meter.a, meter.b, meter.c = old.a, old.b, old.c
  if kind == GCRA then
    local by = policy == 0 and 'y' or 'z'
    meter.b = math.min(share(old.b, meter[by], old[by]), EXACT / 2)
    meter.c = math.min(share(old.c, meter[by], old[by]), EXACT / 2)
  elseif kind == SEGMENTED then
    meter.counts = old.counts
    if meter.y ~= old.y or meter.z ~= old.z then
      local total = sum(old.counts, 1)
      begin(meter, math.max(now, old.a * old.y))
      meter.counts[1] = total
    end
    for i, count in ipairs(meter.counts) do
      meter.counts[i] = counted(count)
    end
  elseif kind == SLIDING then
    if meter.y ~= old.y or meter.z ~= old.z then
      local at = math.max(now, old.a)
      local ticks = old.z - whole(at - old.a, old.y)
      meter.a, meter.b, meter.c = at, old.b + whole_up(old.c * ticks, old.z), 0
    end
    meter.b, meter.c = counted(meter.b), counted(meter.c)
  elseif kind == FIXED or kind == QUOTA then
    meter.b = counted(old.b)
    age(meter, now)
  end
end

local function read_state(meter, seen, packed, at)
  meter.c = 0
  if meter.kind == SEGMENTED then
    meter.a, at = struct.unpack('>I7', packed, at)
    meter.counts = { struct.unpack('>' .. string.rep('I5', meter.z + 1), packed, at) }
    at = table.remove(meter.counts)
  elseif meter.kind == GCRA then
    meter.a = seen
    meter.b, meter.c, at = struct.unpack('>I7I7', packed, at)
  elseif meter.kind == SLIDING or meter.kind == QUOTA then
    meter.a, meter.b, meter.c, at = struct.unpack('>I7I7I7', packed, at)
  elseif not APART[meter.kind] then
    meter.a, meter.b, at = struct.unpack('>I7I7', packed, at)
  end
  return at
end

local function pack_state(meter)
  if meter.kind == SEGMENTED then
    return struct.pack('>I7' .. string.rep('I5', meter.z + 1), meter.a, unpack(meter.counts))
  elseif meter.kind == GCRA then
    return struct.pack('>I7I7', meter.b, meter.c)
  elseif meter.kind == SLIDING or meter.kind == QUOTA then
    return struct.pack('>I7I7I7', meter.a, meter.b, meter.c)
  end
  return APART[meter.kind] and '' or struct.pack('>I7I7', meter.a, meter.b)
end

-- Have counts be as a clock says that was put back. Where a segment begins, what is left of it is
-- not the same as before: who is older then moves up by one, so that nothing ends too early.
local function shift_segments_back(stored, now)
  local newest = whole(stored.seen, stored.y)
  if math.fmod(now, stored.y) > math.fmod(stored.seen, stored.y) then
    if stored.a > newest then
      stored.a = stored.a + 1
    else
      stored.counts[1] = stored.counts[1] + table.remove(stored.counts, 2)
      stored.counts[stored.z + 1] = 0
    end
  end
  stored.a = stored.a - newest + whole(now, stored.y)
end

-- Have a meter be what was stored of it; `as_it_is` with the numbers stored.
local function restore(meter, stored, now, as_it_is)
  local same = meter.x == stored.x and meter.y == stored.y and meter.z == stored.z
  local shift = math.max(stored.seen - now, 0)
  stored.start, stored.stop, stored.next = meter.start, meter.stop, meter.next
  stored.own = meter.own
  if shift > 0 then
    meter.dirty, meter.shift = true, APART[meter.kind] and shift or 0
    if meter.kind == SEGMENTED then
      shift_segments_back(stored, now)
    elseif meter.kind == QUOTA then
      stored.a = stored.a <= stored.seen and math.min(stored.a, meter.start) or stored.a
    elseif not APART[meter.kind] then
      stored.a = stored.a - shift
    end
  end
  if meter.kind == QUOTA and stored.c > now then
    -- By another calendar, what counts still counts in the period that is now.
    stored.a = stored.a > now and meter.stop or meter.start
  end
  meter.born, meter.known = stored.born - shift, true
  if not APART[meter.kind] then
    age(stored, now)
    if over_at(stored) <= now and stored.kind ~= GCRA then return end
  end
  if as_it_is and not same then
    meter.was = { x = meter.x, y = meter.y, z = meter.z, policy = stored.policy }
    meter.x, meter.y, meter.z = stored.x, stored.y, stored.z
  end
  if same or as_it_is then
    meter.a, meter.b, meter.c, meter.counts = stored.a, stored.b, stored.c, stored.counts
  else
    carry(meter, stored, now)
    meter.dirty = true  -- even if the call is denied: its times are told in these numbers
  end
end

local HEAD, BAN = '>I7I7I7', '>I7I4I7I4'

-- Read what is stored under a key: groups of rules, with when they end, were written and began, and
-- of each its state. Return what belongs to none of the rules asked for, and the ban: the group
-- that has none.
local function open(key, number, rules, now, as_it_is)
  local others, ban, at, known, oldest = {}, nil, 1, {}, now
  for _, rule in ipairs(rules) do
    if rule.key == number then
      begin(rule, now)
      known[rule.kind .. rule.name] = rule
    end
  end
  local packed = redis.call('GET', key) or ''
  while at <= #packed do
    local group, ends, seen, born
    group, at = read_rules(packed, at)
    ends, seen, born, at = struct.unpack(HEAD, packed, at)
    if #group > 0 then oldest = math.min(oldest, born - math.max(seen - now, 0)) end
    for _, stored in ipairs(group) do
      at = read_state(stored, seen, packed, at)
      stored.ends, stored.seen, stored.born = ends, seen, born
      local rule = known[stored.kind .. stored.name]
      if ends > now and rule then
        restore(rule, stored, now, as_it_is)
      elseif ends > now then
        others[#others + 1] = stored
      end
    end
    if #group == 0 then
      local shift = math.max(seen - now, 0)
      ban = { struct.unpack(BAN, packed, at) }
      at = table.remove(ban)
      ban[1], ban[3] = math.max(0, ban[1] - shift), math.max(0, ban[3] - shift)
      ban.ends, ban.dirty = ends - shift, shift > 0
      if ban.ends <= now then ban = nil end
    end
  end
  -- There was no reset since then, which is what refunds have to know; of a debt they also have to
  -- know what was given back.
  for _, rule in pairs(known) do
    if not rule.known and rule.kind ~= GCRA then rule.born = oldest end
  end
  return others, ban
end

-- Read the rules asked for and what is stored under the keys of their subjects, also what belongs
-- to none of them, and bans. Return nothing if the period of a quota is over.
local function open_all(packed, periods, keys, now, as_it_is)
  local rules, subjects, others, bans = read_rules(packed, 1), 0, {}, {}
  for i, rule in ipairs(rules) do
    rule.own, subjects = keys[rule.own], math.max(subjects, rule.key)
    if rule.kind == QUOTA then
      rule.start, rule.stop, rule.next = struct.unpack('>I7I7I7', periods, 21 * i - 20)
      if now < rule.start or now >= rule.stop then return nil end
    end
  end
  for number = 1, subjects do
    others[number], bans[number] = open(keys[number], number, rules, now, as_it_is)
  end
  return rules, others, bans
end

-- Store what belongs under a key, for as long as it matters.
local function close(key, number, rules, others, ban, now)
  local last, by_born, groups, pieces = 0, {}, {}, {}
  for _, rule in ipairs(rules) do
    if rule.key == number then
      local group = by_born[rule.born]
      if not group then
        group = { rules = {}, states = {}, ends = 0, born = rule.born }
        by_born[rule.born], groups[#groups + 1] = group, group
      end
      -- Its end is for who sees it by another calendar, or without one.
      if rule.kind == QUOTA then rule.c = rule.a == rule.start and rule.stop or rule.next end
      table.insert(group.rules, rule)
      table.insert(group.states, pack_state(rule))
      group.ends = math.max(group.ends, over_at(rule))
      if rule.shift == EXACT then forget(rule) end
    end
  end
  for _, group in ipairs(groups) do
    if group.ends > now then
      last = math.max(last, group.ends)
      pieces[#pieces + 1] = pack_rules(group.rules)
        .. struct.pack(HEAD, group.ends, now, group.born) .. table.concat(group.states)
    end
  end
  for _, rule in ipairs(others) do
    last = math.max(last, rule.ends)
    pieces[#pieces + 1] = pack_rules({ rule })
      .. struct.pack(HEAD, rule.ends, rule.seen, rule.born) .. pack_state(rule)
  end
  if ban then
    last = math.max(last, ban.ends)
    pieces[#pieces + 1] = pack_rules({}) .. struct.pack(HEAD, ban.ends, now, now)
      .. struct.pack(BAN, ban[1], ban[2], ban[3], ban[4])
  end
  if last > now then
    redis.call('SET', key, table.concat(pieces), 'PXAT',
      string.format('%.0f', math.ceil(last / 1e3)))
  else
    redis.call('DEL', key)
  end
end

local function clock()
  local time = redis.call('TIME')
  return time[1] * 1e6 + time[2]
end
