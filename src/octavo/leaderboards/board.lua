-- board.lua: what all scripts of a board share: its configuration, and fields of its hashes

-- The empty field of the entries holds "<configuration> <last stamp>", and on seasons and boards
-- with bans " <opens> <closes> <bans>" behind that. A "!" before a configuration: it must be there.
local function mismatch(meta, config)
  if string.sub(config, 1, 1) == '!' then
    if not meta then return redis.error_reply('NOSEASON nobody has opened this season') end
    config = string.sub(config, 2)
  end
  if not meta or string.sub(meta, 1, #config + 1) == config .. ' ' then return false end
  local stored = string.match(meta, '^(%S+ %S+ %S+) ') or meta
  local what = 'the board was made as "' .. stored .. '", not as "' .. config .. '"'
  return redis.error_reply('MISMATCH ' .. what)
end

-- When a table expires, in milliseconds since 1970, or nil. A key that is made anew has to be told.
local function expires_at(entries)
  local expires = redis.call('PEXPIRETIME', entries)
  return expires > 0 and expires or nil
end

-- The values of many fields; unpack() takes some thousands at a time.
local function fields(hash, names)
  if #names <= 4000 then return redis.call('HMGET', hash, unpack(names)) end
  local values = {}
  for at = 1, #names, 4000 do
    local some = redis.call('HMGET', hash, unpack(names, at, math.min(at + 3999, #names)))
    for i = 1, #some do values[at + i - 1] = some[i] end
  end
  return values
end
