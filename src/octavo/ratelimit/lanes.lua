-- lanes.lua: decide about what is asked for most: hits that do not wait, under GCRA alone or under
-- fixed windows alone, of subjects of whom nothing else is stored, and no ban

-- Return 1 or 0, now, and for each rule, as if the call were charged, the debt; of a window its
-- start and what is used. Return nothing, having done nothing, if it is not of that kind after all.
-- What is stored is as meters.lua has it, whose functions it would take longer to make than this.
local function in_short(keys, args)
  local each = args[3] == 'counts' and 2 or 1
  local time = redis.call('TIME')
  local now, allowed, first = time[1] * 1e6 + time[2], true, 0
  local charged, records, ends = {}, {}, {}
  local costs = { struct.unpack('>' .. string.rep('I5', string.byte(args[1], 2)), args[2]) }
  for k = 1, #keys do
    local rules, stored = args[k + 8] or args[1], redis.call('GET', keys[k])
    local size, count, seen, born, state = #rules, string.byte(rules, 2), now, now, nil
    local format = '>I7I7I7' .. string.rep('I7', each * count)
    if stored then
      if #stored ~= size + 21 + 7 * each * count or string.sub(stored, 1, size) ~= rules then
        return nil
      end
      state = { struct.unpack(format, stored, size + 1) }
      seen, born = state[2], state[3]
      if seen > now then return nil end
    end
    local numbers, over = { struct.unpack('>' .. string.rep('I7', 3 * count), rules, 3) }, 0
    for i = 1, count do
      local x, y, cap = numbers[3 * i - 2], numbers[3 * i - 1], numbers[3 * i]
      local cost, at = costs[first + i]
      if each == 1 then
        local debt, more = state and state[i + 3] - (now - seen) * x or 0, cost * y
        -- What never fits would not be exact.
        debt = (debt < 0 and 0 or debt) + (more > cap and cap + 1 or more)
        if debt > cap then allowed = false end
        charged[first + i] = debt
        -- Up to a microsecond late, which a TTL may be.
        at = now + debt / x + 1
      else
        local start, used = now, 0
        if state and now < state[2 * i + 2] + y then
          start, used = state[2 * i + 2], state[2 * i + 3]
          if start > now then return nil end  -- it is booked
          if used == 0 then start = now end
        end
        used = used + cost
        if used > x then allowed = false end
        charged[2 * (first + i) - 1], charged[2 * (first + i)] = start, used
        at = start + y
      end
      if at > over then over = at end
    end
    records[k] = rules .. struct.pack(format, over, now, born, unpack(charged, each * first + 1))
    ends[k], first = over, first + count
  end
  if allowed then
    for k = 1, #keys do
      redis.call('SET', keys[k], records[k], 'PXAT', math.ceil(ends[k] / 1e3))
    end
  end
  return struct.pack('>BI8' .. string.rep('I8', #charged), allowed and 1 or 0, now, unpack(charged))
end

