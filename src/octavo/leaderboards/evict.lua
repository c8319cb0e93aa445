-- evict.lua: take off a rolling window what is over by now
-- KEYS[1..] table: {base}:... (eight keys)
-- ARGV[1] board: what is constant about the board, as msgpack
-- returns 1 while there is more to take off, else 0
-- @include board.lua
-- @include places.lua
-- @include columns.lua
-- @include tables.lua

local shape, time = cmsgpack.unpack(ARGV[1]), redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local t = tables_at(shape, KEYS, 1, now, now)[1]
local wrong = check(shape, t, {data = true, past = true})
if wrong then return wrong end
if not t.meta then return 0 end
local more = evict(shape, t, now, 1000)
finish(shape, t)
return more and 1 or 0
