-- lookup.lua: what the scripts of ratings share: looking players up, and signing

-- An error, or what players.lua returns, and whether that has been signed.
local function look_up(entries, data, bans, config, system, players)
  local meta = redis.call('HGET', entries, '')
  local wrong = mismatch(meta, config)
  if wrong then return wrong end
  local names = {''}
  for i, player in ipairs(players) do names[i + 1] = player end
  local banned = fields(bans, names)
  local stored = table.remove(banned, 1)
  if stored and stored ~= system then
    return redis.error_reply('MISMATCH the ratings are of ' .. stored .. ', not of ' .. system)
  end
  for i, ban in ipairs(banned) do banned[i] = ban and 1 or 0 end
  local now = redis.call('TIME')
  return false, {now[1], now[2], fields(data, players), banned}, meta and stored
end

-- Stores what the ratings are of.
local function sign(entries, bans, config, system)
  redis.call('HSETNX', entries, '', config .. ' 0')
  redis.call('HSETNX', bans, '', system)
end
