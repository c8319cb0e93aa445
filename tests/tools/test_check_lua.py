from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tools.check_lua import ROOT, check

if TYPE_CHECKING:
    from pathlib import Path

LOOP = """\
for at = 2, #ARGV do
  redis.call('ZADD', queue, redis.call('TIME')[1], 'item:' .. ARGV[at])
end
"""
GOOD = f"""\
-- good.lua: move what is due
-- KEYS[1] queue: {{base}}:queue (sorted set)
-- KEYS[2] done: {{base}}:done (list)
-- ARGV[1] limit: how many at most
-- ARGV[2..] ids: the items,
--   oldest first
-- returns how many were moved
-- @include shared.lua

local queue, done = KEYS[1], KEYS[2]
local limit = tonumber(ARGV[1]) -- not KEYS[9], nor os.time
local target = limit > 0 and done or queue
{LOOP}redis.call(limit > 1 and 'LPUSH' or 'RPUSH', target, "KEYS[7]")
redis.call('DEL', KEYS[1], done)
return redis.call('OBJECT', 'ENCODING', queue)
"""
SHARED = """\
-- shared.lua: what scripts share

local function size(key) return redis.call('ZCARD', key) end
"""


def complaints(folder: Path, script: str, shared: str = SHARED) -> list[str]:
    (folder / "good.lua").write_text(script)
    (folder / "shared.lua").write_text(shared)
    return list(check(folder))


def test_a_script_that_keeps_the_contract_passes(tmp_path: Path) -> None:
    assert complaints(tmp_path, GOOD) == []


def test_the_scripts_of_octavo_keep_the_contract() -> None:
    assert list(check(ROOT / "src")) == []
    assert list((ROOT / "src").rglob("*.lua"))


@pytest.mark.parametrize(
    ("good", "bad", "complaint"),
    [
        ("-- good.lua:", "-- other.lua:", "1: the first line is"),
        (": move what is due", "", "1: the first line is"),
        ("-- KEYS[1] queue: {base}:queue (sorted set)", "-- KEYS[1] queue", "2: not a header line"),
        ("(sorted set)", "", "2: not a header line"),
        ("-- returns how many were moved\n", "", "1: the header lacks"),
        ("-- KEYS[2]", "-- KEYS[3]", "3: KEYS[3] stands where KEYS[2] should"),
        ("-- ARGV[1] limit", "-- ARGV[1] now", "4: no client's clock"),
        ("-- ARGV[1] limit", "-- ARGV[1] client_time", "4: no client's clock"),
        ("@include shared", "@include missing", "8: there is no missing.lua"),
        ("KEYS[1], KEYS[2]", "KEYS[1], KEYS[3]", "10: KEYS[3] is used and not declared"),
        (" = KEYS[1], KEYS[2]", "", "3: KEYS[2] is declared and not used"),
        ("tonumber(ARGV[1])", "1", "4: ARGV[1] is declared and not used"),
        (LOOP, "", "5: ARGV[n..] is declared, and ARGV not used as a whole"),
        ("-- ARGV[2..] ids", "-- ARGV[2] ids", "ARGV is used as a whole, and no ARGV[n..]"),
        ("'ZADD', queue", "'ZADD', queue .. ':x'", "14: queue..':x' is not a declared key"),
        ("'ZADD', queue", "'ZADD', KEYS[1] .. ARGV[1]", "14: KEYS[1]..ARGV[1] is not a declared"),
        ("'ZADD', queue", "'ZADD', 'queue'", "14: 'queue' is not a declared key"),
        ("and done or queue", "and done or ARGV[2]", "target is not a declared key"),
        ("and done or queue", "and done .. 'x' or queue", "target is not a declared key"),
        ("for at = 2", "queue = queue .. 'x'\nfor at = 2", "queue is not a declared key"),
        ("KEYS[1], done)", "KEYS[1], limit)", "limit is not a declared key"),
        ("'ENCODING', queue", "'ENCODING', limit", "limit is not a declared key"),
        ("'ENCODING', queue", "'ENCODING', limit.own", "limit.own is not a declared key"),
        ("'ENCODING', queue", "'ENCODING', queue.a.b", "queue.a.b is not a declared key"),
        ("'ENCODING', queue", "'ENCODING'", "no word is not a declared key"),
        ("redis.call('TIME')[1]", "os.time()", "14: os.time: the time is"),
        ("for at = 2", "local call = redis.call\nfor at = 2", "13: redis.call is called where"),
    ],
)
def test_a_broken_contract_is_named_with_its_line(
    tmp_path: Path, good: str, bad: str, complaint: str
) -> None:
    assert good in GOOD

    found = complaints(tmp_path, GOOD.replace(good, bad, 1))

    assert any(complaint in one for one in found), found


def test_a_field_of_a_parameter_is_a_key_as_the_parameter_is(tmp_path: Path) -> None:
    assert complaints(tmp_path, GOOD, SHARED.replace("ZCARD', key", "ZCARD', key.own")) == []


@pytest.mark.parametrize(
    ("shared", "complaint"),
    [
        (SHARED.replace("ZCARD', key", "ZCARD', KEYS[1]"), "3: an included file takes parameters"),
        (SHARED.replace("ZCARD', key", "ZCARD', key .. 'x'"), "3: key..'x' is not a declared key"),
        ("local one = 1\n", "1: the first line is"),
    ],
)
def test_an_included_file_is_held_to_its_own_contract(
    tmp_path: Path, shared: str, complaint: str
) -> None:
    found = complaints(tmp_path, GOOD, shared)

    assert any(complaint in one for one in found), found
