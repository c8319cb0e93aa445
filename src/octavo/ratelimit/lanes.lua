-- lanes.lua: decide about what is asked for most: hits that cannot wait, whose rules are all GCRA,
-- or fixed windows, or sliding ones, of subjects of whom nothing else is stored, and no ban

local EACH = { debts = 2, counts = 2, weights = 3 }

-- Return 1 or 0, now, and for each rule, as if the call were charged, the debt and what was given
-- back of it; of a window its start and what is used, and of a sliding one what was used before.
-- Return nothing, having done nothing, if it is not that simple after all. What is stored is as
-- meters.lua has it, whose functions it would take longer to make than this.
local function in_short(keys, args)
  local mode, each = args[3], EACH[args[3]]
  if not each then return nil end
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
      if state[2] > now then return nil end
      if state[1] > now then
        seen, born = state[2], state[3]
      else
        state = nil
      end
    end
    local numbers, over = { struct.unpack('>' .. string.rep('I7', 3 * count), rules, 3) }, 0
    for i = 1, count do
      local x, y, z = numbers[3 * i - 2], numbers[3 * i - 1], numbers[3 * i]
      local cost, at = costs[first + i]
      if mode == 'debts' then
        local debt, back, more = 0, 0, cost * y
        if state then
          debt, back = state[2 * i + 2] - (now - seen) * x, state[2 * i + 3]
        end
        -- What never fits would not be exact.
        debt = (debt < 0 and 0 or debt) + (more > z and z + 1 or more)
        if debt > z then allowed = false end
        charged[2 * (first + i) - 1], charged[2 * (first + i)] = debt, back
        -- Up to a microsecond late, which a TTL may be.
        at = now + debt / x + 1
      elseif mode == 'counts' then
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
      else
        local start, used, before, window = now, 0, 0, y * z
        if state then
          start, used, before = state[3 * i + 1], state[3 * i + 2], state[3 * i + 3]
          if now >= start + window then start, used, before = start + window, 0, used end
          if now >= start + window then start, used, before = now, 0, 0 end
          if start > now then return nil end
          if used + before == 0 then start = now end
        end
        used = used + cost
        local ticks = z - math.floor((now - start) / y)
        if before * ticks > (x - used) * z then allowed = false end
        local last = 3 * (first + i)
        charged[last - 2], charged[last - 1], charged[last] = start, used, before
        at = start + 2 * window
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

