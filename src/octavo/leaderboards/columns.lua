-- columns.lua: numbers as 8 bytes that order like them, for the columns after the first
-- The sign bit of a positive float64 is set, all bits of a negative one are inverted.

local function inverted(word)
  return (string.gsub(word, '.', function(byte) return string.char(255 - string.byte(byte)) end))
end

local function encode(number)
  local word = struct.pack('>d', number + 0)
  if string.byte(word) >= 128 then return inverted(word) end
  return string.char(string.byte(word) + 128) .. string.sub(word, 2)
end

local function decode(word)
  if string.byte(word) < 128 then return struct.unpack('>d', inverted(word)) end
  return struct.unpack('>d', string.char(string.byte(word) - 128) .. string.sub(word, 2))
end
