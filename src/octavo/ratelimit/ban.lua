-- ban.lua: keep a subject out, or no longer
-- KEYS[1] subject: {base} (string)
-- ARGV[1] lasts: microseconds; 0 ends a ban
-- returns 1 if it was banned before, else 0
-- @include meters.lua
local now, lasts = clock(), tonumber(ARGV[1])
local others, ban = open(KEYS[1], 1, {}, now)
local before = ban and ban[1] > now and 1 or 0
ban = lasts > 0 and (ban or { 0, 0, 0, 0, ends = 0 }) or nil
if ban then
  ban[1] = now + lasts
  ban.ends = math.max(ban.ends, ban[1])
end
close(KEYS[1], 1, {}, others, ban, now)
return before
