-- rating_lookup.lua: what the scripts of ratings share: looking players up

-- An error, or what rating_players.lua returns, and whether these ratings have a system yet.
local function look_up(entries, data, banned, config, system, players)
  local wrong = mismatch(redis.call('HGET', entries, ''), config)
  if wrong then return wrong end
  local names = {''}
  for i, player in ipairs(players) do names[i + 1] = player end
  local bans = fields(banned, names)
  local stored = table.remove(bans, 1)
  if stored and stored ~= system then
    return redis.error_reply('MISMATCH the ratings are of ' .. stored .. ', not of ' .. system)
  end
  for i, ban in ipairs(bans) do bans[i] = ban and 1 or 0 end
  local now = redis.call('TIME')
  return false, {now[1], now[2], fields(data, players), bans}, stored
end
