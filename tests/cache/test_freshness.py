from __future__ import annotations

import time
from email.utils import formatdate
from typing import TYPE_CHECKING

import pytest

from octavo.cache.freshness import Terms, least, seconds, terms

if TYPE_CHECKING:
    from collections.abc import Mapping

TTL, GRACE = 7.0, 3.0
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"


def of(headers: Mapping[str, str], status: int = 200, *, authorized: bool = False) -> Terms | None:
    return terms(status, headers, ttl=TTL, grace=GRACE, authorized=authorized)


@pytest.mark.parametrize(
    ("control", "expected"),
    [
        ("", Terms(TTL, GRACE, GRACE)),
        ("max-age=60", Terms(60, GRACE, GRACE)),
        ("MAX-AGE=60", Terms(60, GRACE, GRACE)),
        ('max-age="60"', Terms(60, GRACE, GRACE)),
        ("max-age = 60", Terms(60, GRACE, GRACE)),
        ("max-age=60, max-age=5", Terms(60, GRACE, GRACE)),
        ("max-age=0", Terms(0, GRACE, GRACE)),
        ("max-age=-1", Terms(0, GRACE, GRACE)),
        ("max-age=1.5", Terms(0, GRACE, GRACE)),
        ("max-age", Terms(0, GRACE, GRACE)),
        ("max-age=junk", Terms(0, GRACE, GRACE)),
        ("max-age=²", Terms(0, GRACE, GRACE)),
        ("max-age=99999999999999999999999", Terms(2**31, GRACE, GRACE)),
        ("max-age=60, s-maxage=5", Terms(5, 0, 0)),
        ("s-maxage=5, stale-while-revalidate=30", Terms(5, 30, 0)),
        ("max-age=60, stale-while-revalidate=30", Terms(60, 30, GRACE)),
        ("max-age=60, stale-if-error=30", Terms(60, GRACE, 30)),
        ("max-age=60, stale-while-revalidate=0, stale-if-error=0", Terms(60, 0, 0)),
        ("max-age=60, must-revalidate", Terms(60, 0, 0)),
        ("max-age=60, proxy-revalidate, stale-if-error=30", Terms(60, 0, 0)),
        ("no-cache", Terms(0, 0, 0)),
        ("no-cache, max-age=60, stale-while-revalidate=30", Terms(0, 0, 0)),
        ('no-cache="set-cookie"', Terms(0, 0, 0)),
        ("public", Terms(TTL, GRACE, GRACE)),
        ('x="no-store", max-age=5', Terms(5, GRACE, GRACE)),
        ('x="a\\", no-store", max-age=5', Terms(5, GRACE, GRACE)),
        ("no-store", None),
        ("No-Store, max-age=60", None),
        ("private", None),
        ('private="x", max-age=60', None),
    ],
)
def test_cache_control_decides(control: str, expected: Terms | None) -> None:
    assert of({"cache-control": control} if control else {}) == expected


def test_the_time_spent_in_other_caches_counts() -> None:
    assert of({"cache-control": "max-age=60", "age": "20"}) == Terms(40, GRACE, GRACE)
    assert of({"cache-control": "max-age=60", "age": "90"}) == Terms(-30, GRACE, GRACE)
    assert of({"cache-control": "max-age=60", "age": "junk"}) == Terms(60, GRACE, GRACE)


@pytest.mark.parametrize(
    "expires",
    ["Sun, 06 Nov 1994 08:50:37 GMT", "Sunday, 06-Nov-94 08:50:37 GMT", "Sun Nov  6 08:50:37 1994"],
)
def test_expires_counts_from_the_date_of_the_response(expires: str) -> None:
    assert of({"expires": expires, "date": DATE}) == Terms(60, GRACE, GRACE)


def test_expires_without_a_date_counts_from_now() -> None:
    allowed = of({"expires": formatdate(time.time() + 60)})
    assert allowed is not None
    assert 57 < allowed.fresh <= 60


@pytest.mark.parametrize("expires", ["0", "-1", "", "junk", "Thu, 01 Jan 99999 00:00:00 GMT", DATE])
def test_expires_that_is_past_or_no_date_is_stale_at_once(expires: str) -> None:
    assert of({"expires": expires, "date": DATE}) == Terms(0, GRACE, GRACE)


def test_max_age_goes_before_expires() -> None:
    assert of({"cache-control": "max-age=5", "expires": "0"}) == Terms(5, GRACE, GRACE)


@pytest.mark.parametrize("status", [200, 203, 204, 300, 301, 308, 404, 405, 410, 414])
def test_a_status_with_a_lifetime_by_default_is_kept_for_the_ttl(status: int) -> None:
    assert of({}, status) == Terms(TTL, GRACE, GRACE)


@pytest.mark.parametrize("status", [201, 302, 303, 307, 400, 401, 403, 418, 429])
def test_any_other_status_is_kept_only_if_the_response_says_so(status: int) -> None:
    assert of({}, status) is None
    assert of({"cache-control": "max-age=5"}, status) == Terms(5, GRACE, GRACE)
    assert of({"cache-control": "public"}, status) == Terms(TTL, GRACE, GRACE)


def test_a_part_of_a_page_is_not_stored() -> None:
    assert of({"cache-control": "max-age=5"}, 206) is None


def test_what_was_authorized_is_shared_only_if_the_response_says_so() -> None:
    assert of({"cache-control": "max-age=5"}, authorized=True) is None
    for control in ("public, max-age=5", "s-maxage=5", "must-revalidate, max-age=5"):
        allowed = of({"cache-control": control}, authorized=True)
        assert allowed is not None
        assert allowed.fresh == 5


def test_a_chain_allows_what_all_of_it_allow() -> None:
    assert least([Terms(9, 2, 3), Terms(4, 5, 1)]) == Terms(4, 2, 1)
    assert least([Terms(9, 2, 3), None]) is None


def test_seconds_that_are_none_are_no_seconds() -> None:
    assert [seconds(text) for text in (" 5 ", "", "x", "-5", "1e3")] == [5, 0, 0, 0, 0]
