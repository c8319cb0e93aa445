-- confirm.lua: forget moves whose shards have been told, unless they were overtaken
-- KEYS[1] members: {home}:members (hash)
-- KEYS[2] moves: {home}:moves (hash)
-- ARGV[1] grace: microseconds by which the moves of others are older that are forgotten too
-- ARGV[2] overtaken: keep|forget the moves that were
-- ARGV[3..] for each move: member, id, entry that the shards were told, or ""
-- returns for each 1 if the member has another entry by now, or 0

local members, moves = KEYS[1], KEYS[2]
local grace = tonumber(ARGV[1])

local replies = {}
for at = 3, #ARGV, 3 do
  local member, id, entry = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local overtaken = (redis.call('HGET', members, member) or '') ~= entry
  local noted = redis.call('HGET', moves, member)
  if noted and (ARGV[2] == 'forget' or not overtaken) then
    local before, left = struct.unpack('>I7', id) - grace, {}
    for from = 1, #noted, 37 do
      local other = string.sub(noted, from, from + 6)
      if other ~= id and (overtaken or struct.unpack('>I7', other) > before) then
        left[#left + 1] = string.sub(noted, from, from + 36)
      end
    end
    if #left == 0 then
      redis.call('HDEL', moves, member)
    else
      redis.call('HSET', moves, member, table.concat(left))
    end
  end
  replies[#replies + 1] = overtaken and 1 or 0
end
return replies
