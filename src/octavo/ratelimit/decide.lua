-- decide.lua: let a call pass under several rules, all or nothing, and charge them
-- KEYS[1..] subjects: {base}|{base}:log:{rule}|{base}:leases:{rule} (string list or sorted set)
-- ARGV[1] rules: packed, as read_rules has it
-- ARGV[2] costs: five bytes for each rule
-- ARGV[3] mode: hit, peek, or take for as much as fits, but no less than the cost; or a lane's, for
--   a hit
-- ARGV[4] wait: microseconds that the caller can wait; negative for any
-- ARGV[5] ban: the policy, packed; empty for none
-- ARGV[6] holder: names the places taken
-- ARGV[7] periods: of each quota when its period starts and ends, and when the next one ends
-- ARGV[8] most: units to take at most
-- ARGV[9..] own: of several subjects, for a lane: the rules of each, packed
-- returns {1 or 0, now, delay, how long a ban lasts, cost} and for each rule {1 or 0, remaining,
--   when the cost fits, when more does, when nothing is used, how to tell its state again}, in
--   microseconds from now, -1 for never; or {-1, now} if the period of a quota is over; or, packed,
--   what a lane says
-- @include lanes.lua
local said = in_short(KEYS, ARGV)
if said then return said end

-- @include meters.lua
local now, wait = clock(), tonumber(ARGV[4]) or 0
local mode = EACH[ARGV[3]] and 'hit' or ARGV[3]
local rules, others, bans = open_all(ARGV[1], ARGV[7], KEYS, now)
if not rules then return { -1, now } end

local costs, times, banned = {}, {}, 0
for _, ban in pairs(bans) do banned = math.max(banned, ban[1] - now) end

local granted, most = 0, tonumber(ARGV[8])
for i, rule in ipairs(rules) do
  costs[i] = struct.unpack('>I5', ARGV[2], 5 * i - 4)
  granted = math.max(granted, costs[i])
  if mode == 'take' and not rule.shadow then most = math.min(most, left(rule, now)) end
end
if mode == 'take' then
  granted = math.max(granted, most)
  for i = 1, #costs do costs[i] = granted end
end

local allowed, at, fits = banned == 0, now, {}
for i, rule in ipairs(rules) do
  times[i] = earliest(rule, costs[i], now)
  if not rule.shadow and times[i] then at = math.max(at, times[i]) end
end
local due = math.min(at, wait < 0 and at or now + wait)
local bookable = {}
for i, rule in ipairs(rules) do
  -- A quota's period after the next is not known; debts have to stay exact.
  bookable[i] = rule.kind == QUOTA and at < rule.next
    or rule.kind == GCRA and (at - now) * rule.x + rule.z <= EXACT
    or rule.kind ~= QUOTA and rule.kind ~= GCRA
  fits[i] = times[i] and times[i] <= due
  if not rule.shadow and not (fits[i] and bookable[i]) then
    allowed, fits[i] = false, false
  end
end

local changed = {}
for i, rule in ipairs(rules) do
  if mode == 'peek' then break end
  local ban = bans[rule.key]
  if rule.dirty or ban and ban.dirty then changed[rule.key] = true end
  if rule.dirty and rule.own then shift_back(rule) end
  if allowed and fits[i] and bookable[i] then
    changed[rule.key] = true
    charge(rule, costs[i], at, now, ARGV[6])
    rule.mark = rule.kind == GCRA and rule.b + rule.c or rule.a
    if rule.kind == GCRA then age(rule, now) end
  end
end

if (ARGV[5] or '') ~= '' and banned == 0 and not allowed and mode ~= 'peek' then
  local after, within, lasts, growth, longest, forget = struct.unpack('>I4I7I7dI7I7', ARGV[5])
  for i, rule in ipairs(rules) do
    local ban = bans[rule.key] or { 0, 0, 0, 0 }
    if not rule.shadow and not fits[i] and ban.counted ~= now then
      if now - ban[3] >= within then
        ban[2], ban[3] = 0, now
      end
      ban[2], ban.counted = ban[2] + 1, now
      ban.ends = math.max(ban.ends or 0, ban[3] + within)
      if ban[2] >= after then
        local length = math.min(lasts * growth ^ ban[4], longest)
        ban[1], ban[2], ban[4] = now + math.floor(length), 0, ban[4] + 1
        ban.ends = ban[1] + forget
        banned = math.max(banned, ban[1] - now)
      end
      bans[rule.key], changed[rule.key] = ban, true
    end
  end
end

local reply = { allowed and 1 or 0, now, allowed and at - now or 0, banned, granted }
for i, rule in ipairs(rules) do
  local room = left(rule, now)
  local last = #reply
  reply[last + 1] = fits[i] and 1 or 0
  reply[last + 2] = room
  reply[last + 3] = times[i] and times[i] - now or -1
  reply[last + 4] = (earliest(rule, room + 1, now) or now) - now
  reply[last + 5] = math.max(over_at(rule) - now, 0)
  reply[last + 6] = rule.mark or 0
end
for number in pairs(changed) do
  close(KEYS[number], number, rules, others[number], bans[number], now)
end
return reply
