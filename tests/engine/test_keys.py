from __future__ import annotations

from typing import Any

import pytest
from redis.crc import key_slot

from octavo.engine.keys import KeyParts, check_name, check_prefix, key_base, parse_key, slot


def tag_of(key: str) -> str:
    """Return what a server hashes of a key, by its manual."""
    start = key.find("{")
    end = key.find("}", start + 1)
    return key[start + 1 : end] if 0 <= start < end - 1 else key


def test_the_hash_tag_of_a_key_is_its_own_object() -> None:
    assert key_base("octavo", "leaderboard", "season-1", None) == "octavo:leaderboard:{season-1}"


def test_objects_of_one_tag_share_a_slot_whatever_their_job_and_name() -> None:
    bases = [
        key_base("octavo", job, name, "both")
        for job in ("leaderboard", "lock")
        for name in ("a", "b", "{c}", "d}")
    ]
    assert bases[0] == "octavo:leaderboard:{both}.a"
    assert {tag_of(base) for base in bases} == {"both"}
    assert len({slot(f"{base}:scores".encode()) for base in bases}) == 1
    assert len(set(bases)) == len(bases)


NASTY = [
    "{",
    "}",
    "%",
    "{}",
    "}{",
    "%7B",
    "%257B",
    "{a}b",
    "a:b",
    "a.b",
    " ",
    "é",
    "\0",
    "a{b}c{d}",
]


@pytest.mark.parametrize("name", NASTY, ids=ascii)
def test_braces_and_percents_in_a_name_cannot_move_the_hash_tag(name: str) -> None:
    base = key_base("octavo", "job", name, None)
    assert (base.count("{"), base.count("}")) == (1, 1)
    assert tag_of(f"{base}:a") == tag_of(f"{base}:{{b}}") == base[len("octavo:job:{") : -1]
    tagged = key_base("octavo", "job", "object", name)
    assert tag_of(tagged) == tag_of(base)
    assert (tagged.count("{"), tagged.count("}")) == (1, 1)


def test_names_that_differ_have_keys_that_differ() -> None:
    names = [*NASTY, "a", "b", "a%3Ab", "%7D"]
    assert len({key_base("octavo", "job", name, None) for name in names}) == len(names)
    assert len({key_base("octavo", "job", name, "t") for name in names}) == len(names)
    assert len({key_base("octavo", "job", "x", tag) for tag in names}) == len(names)


def test_the_keys_of_a_tagged_object_are_never_those_of_another() -> None:
    # `{t}.a` with a part `b` must not be `{t}.a:b` with no part.
    assert not key_base("o", "j", "a:b", "t").startswith(key_base("o", "j", "a", "t") + ":")


@pytest.mark.parametrize("key", [b"a", b"{a}b", b"{}a", b"a{b}c{d}", b"{a", b"\xff"])
def test_the_slot_is_the_one_a_cluster_computes(key: bytes) -> None:
    assert slot(key) == key_slot(key)


@pytest.mark.parametrize("prefix", ["a{b", "}", "{a}"])
def test_a_prefix_with_a_brace_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="prefix must not contain a brace"):
        check_prefix(prefix)


@pytest.mark.parametrize(
    ("value", "error"), [("", ValueError), (None, TypeError), (b"a", TypeError), (3, TypeError)]
)
def test_a_name_that_is_none_is_refused_by_the_parameters_name(value: Any, error: Any) -> None:
    with pytest.raises(error, match="board must"):
        check_name("board", value)


@pytest.mark.parametrize("tag", [None, *NASTY], ids=ascii)
@pytest.mark.parametrize("name", NASTY, ids=ascii)
def test_a_key_is_read_back_as_what_it_was_made_of(name: str, tag: str | None) -> None:
    key = f"{key_base('octavo', 'job', name, tag)}:field:more".encode()
    assert parse_key("octavo", key) == KeyParts("job", name, tag, "field:more")


@pytest.mark.parametrize(
    "key",
    [
        b"octavo2:job:{a}:field",
        b"octavo:{a}:field",
        b"octavo:job:a:field",
        b"octavo:job:{}:field",
        b"octavo:job:{a}:",
        b"octavo:job:{a}",
        b"octavo:job:{a}b:field",
        b"octavo:job:{a}.:field",
        b"octavo:job:{\xff}:field",
    ],
)
def test_a_key_of_nobody_is_told_apart(key: bytes) -> None:
    assert parse_key("octavo", key) is None
