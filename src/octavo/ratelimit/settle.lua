-- settle.lua: give back what a call was charged and has not used, or charge what it used besides
-- KEYS[1..] subjects: {base}|{base}:log:{rule}|{base}:leases:{rule} (string list or sorted set)
-- ARGV[1] rules: packed, as read_rules has it
-- ARGV[2] changes: for each rule what was charged, what was used, when, and how to tell that state
-- ARGV[3] holder: names the places taken
-- ARGV[4] periods: of each quota when its period starts and ends, and when the next one ends
-- returns nothing; or {-1, now} if the period of a quota is over
-- @include meters.lua
local now = clock()
local rules, others, bans = open_all(ARGV[1], ARGV[4], KEYS, now, true)
if not rules then return { -1, now } end
for i, rule in ipairs(rules) do
  local taken, used, at, mark, asked = struct.unpack('>I5I5I7I7I7', ARGV[2], 31 * i - 30)
  if rule.dirty and rule.own then shift_back(rule) end
  if rule.kind == CONCURRENCY then
    release(rule, used, taken, ARGV[3])
  elseif used > taken then
    charge(rule, used - taken, math.max(now, since(rule)), now, ARGV[3])
  elseif used < taken and rule.known and asked >= rule.born then
    give_back(rule, taken - used, taken, at, mark, now)
  end
end
for number = 1, #others do
  close(KEYS[number], number, rules, others[number], bans[number], now)
end
return false
