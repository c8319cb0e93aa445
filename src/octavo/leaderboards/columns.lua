-- columns.lua: numbers as 8 bytes that order like them, for the columns after the first, and sums
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

-- The text of a sum, or nil where a float64 cannot hold it.
local function sum_of(old, by)
  local sum = old + by
  if sum - sum ~= 0 or (by + 0 ~= 0 and sum == old + 0) then return nil end
  return text(sum)
end

local function columns_sum(old, by)
  local words = {}
  for i = 1, #old, 8 do
    local sum = sum_of(decode(string.sub(old, i, i + 7)), decode(string.sub(by, i, i + 7)))
    if not sum then return nil end
    words[#words + 1] = encode(sum)
  end
  return table.concat(words)
end

-- The sum of two scores of which the sorted set holds the negative logarithms to base 2.
local function sum_of_powers(a, b)
  local more, less_of_both = math.min(a, b), math.max(a, b)
  return text(more - math.log(1 + 2 ^ (more - less_of_both)) / math.log(2))
end
