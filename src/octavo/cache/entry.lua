-- entry.lua: what a key holds, told by its first bytes; frame.py says how they are laid out

-- Returns 'none' (nothing, or the remains of an entry), 'lease', 'plain' (an integer, or whatever
-- other clients store) or 'entry'; for an entry also its head, followed by its tags if it has any.
local function look(key)
  local head = redis.call('GETRANGE', key, 0, 32)
  local kind = string.sub(head, 1, 1)
  if kind == '' then return 'none' end
  if kind == '\0' then return 'lease' end
  if kind ~= '\2' and kind ~= '\3' then return 'plain' end
  if #head < 31 then return 'none' end
  if kind == '\2' then return 'entry', string.sub(head, 1, 31) end
  local high, low = string.byte(head, 32, 33)
  if not low then return 'none' end
  return 'entry', redis.call('GETRANGE', key, 0, 32 + high * 256 + low)
end

-- Whether what `look` has returned is the entry that begins so; no entry begins with nothing.
local function is(head, start)
  return start ~= '' and string.sub(head or '', 1, #start) == start
end
