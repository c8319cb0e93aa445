-- shared.lua: what twice.lua includes

local function twice(number)
  return 2 * number
end
