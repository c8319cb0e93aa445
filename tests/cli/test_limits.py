from __future__ import annotations

import json
import re
from functools import partial
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

import octavo
from octavo import Ban, Concurrency, Limit
from octavo.cli.app import app
from tests.fix_servers import redis_py

if TYPE_CHECKING:
    from octavo import Octavo, Sync
    from octavo.ratelimit import Limiter
    from tests.cli.conftest import Run
    from tests.fix_servers import Servers

LIMITS = [
    Limit("40/hour", burst=20),
    Limit("10/day", name="uploads", algorithm="log", shadow=True),
    Limit("100/day", name="all", algorithm="fixed"),
    Concurrency(5, lease=3600),
]
MOMENT = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"


@pytest.fixture
def run(run_octavo: Run) -> Run:
    return partial(run_octavo, "limits")


def limiter(db: Octavo[Sync], name: str = "api", tag: str | None = None) -> Limiter[Sync]:
    return db.limiter(name, *LIMITS, deadline=None, tag=tag)


def cells(line: str) -> list[str]:
    return re.split(r" {2,}", line)


def test_what_is_left_is_listed_in_columns(db: Octavo[Sync], run: Run) -> None:
    limiter(db).hit("user:7", 4)
    limiter(db, tag="acme").hit("x")
    db.limiter("login", deadline=None).ban("ada", 600)
    titles, *rows = run("list")
    assert cells(titles) == ["LIMITER", "SUBJECT", "TAG", "LEFT", "BANNED UNTIL", "FORGOTTEN IN"]
    (user, x, ada) = map(cells, rows)
    assert user[:2] == ["api", "user:7"]
    assert user[2] == "concurrency 1/5, uploads 6/10, per-hour 16/20 and 1 more"
    assert x[:3] == ["api", "x", "acme"]
    assert ada[:2] == ["login", "ada"]
    assert re.fullmatch(MOMENT, ada[2])
    assert re.fullmatch(r"(1\.0 d|2[34]\.\d h)", user[3])
    assert re.fullmatch(r"(10\.0|9\.\d) min", ada[3])
    assert rows[2].index(ada[2]) == titles.index("BANNED UNTIL")


def test_without_a_command_everything_is_listed(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OCTAVO_URL", servers.get("embedded").url)
    done = CliRunner().invoke(app, ["limits"])
    assert done.exit_code == 0
    assert done.output.startswith("LIMITER")


def test_the_list_may_be_narrowed_and_printed_as_json(db: Octavo[Sync], run: Run) -> None:
    for subject in ("user:7", "user:8", "host:1"):
        limiter(db).hit(subject)
    (line,) = run("list", "api:user:", "--json")
    listed = json.loads(line)
    assert [usage["subject"] for usage in listed] == ["user:7", "user:8"]
    assert [rule["remaining"] for rule in listed[0]["rules"]] == [19, 9, 99, 4]
    assert json.loads(run("show", "api", "user:7", "--json")[0])["limiter"] == "api"
    assert run("show", "api", "nobody", "--json") == ["null"]


def test_what_is_not_text_is_listed_so(db: Octavo[Sync], run: Run) -> None:
    limiter(db, "\x07").hit("\x1b[2J")
    _, row = run("list")
    assert cells(row)[:2] == [r"'\x07'", r"'\x1b[2J'"]


def test_each_limit_of_a_subject_is_shown_in_a_line(db: Octavo[Sync], run: Run) -> None:
    limiter(db, tag="acme").hit("user:7", 4)
    titles, *rows = [cells(line) for line in run("show", "api", "user:7", "--tag", "acme")]
    assert titles == ["LIMIT", "ALGORITHM", "LEFT", "OF", "RESETS IN"]
    assert [row[:4] for row in rows] == [
        ["per-hour", "gcra", "16", "20"],
        ["uploads (shadow)", "log", "6", "10"],
        ["all", "fixed", "96", "100"],
        ["concurrency", "concurrency", "1", "5"],
    ]
    assert re.fullmatch(r"(6\.0|5\.\d) min", rows[0][4])
    assert re.fullmatch(r"(1\.0 d|2[34]\.\d h)", rows[1][4])


def test_a_limit_of_which_nothing_is_used_any_more_resets_now(db: Octavo[Sync], run: Run) -> None:
    limits = (Limit("2/ms"), Limit("5/hour"))
    db.limiter("api", *limits, deadline=None).hit("ada")
    assert cells(run("show", "api", "ada")[1]) == ["per-ms", "gcra", "2", "2", "now"]


def test_a_ban_is_shown_with_its_end_and_how_many_there_were(db: Octavo[Sync], run: Run) -> None:
    ban = Ban(after=1, within=60, lasts=0.001, growth=600_000, longest=600)
    strict = db.limiter("api", Limit("0/hour"), ban=ban, deadline=None)
    strict.hit("ada")
    assert run("show", "api", "ada") == ["was banned"]
    strict.hit("ada")
    (line,) = run("show", "api", "ada")
    assert re.fullmatch(f"banned until {MOMENT}, 2 in a row", line)


def test_who_has_used_nothing_is_shown_as_such(run: Run) -> None:
    assert run("show", "api", "x", "--tag", "t") == ["'x' has used nothing of 'api'"]
    assert run("reset", "api", "x") == ["'x' has used nothing of 'api'"]
    assert run("reset", "api", "x", "--yes") == ["'x' has used nothing of 'api'"]


def test_what_was_used_is_forgotten_after_a_yes(db: Octavo[Sync], run: Run) -> None:
    limiter(db, tag="t").hit("ada", 4)
    limiter(db, tag="t").ban("ada")
    words = ("reset", "api", "ada", "--tag", "t")
    asked, *_ = run(*words, answer="n\n", ends=1)
    left = "concurrency 1/5, uploads 6/10, per-hour 16/20 and 1 more; banned until .*"
    assert re.match(f"'ada' of 'api': {left}. Forget it?", asked)
    run(*words, answer="", ends=1)
    assert db.limits.show("api", "ada", tag="t") is not None
    assert run(*words, answer="y\n")[-1] == "what 'ada' has used of 'api' is forgotten"
    assert db.limits.list() == []


def test_what_was_used_is_forgotten_unasked_with_yes(db: Octavo[Sync], run: Run) -> None:
    limiter(db).hit("ada", 4)
    assert run("reset", "api", "ada", "--yes") == ["what 'ada' has used of 'api' is forgotten"]
    assert limiter(db).hit("ada", 5)


def test_a_subject_is_banned_and_pardoned(db: Octavo[Sync], run: Run) -> None:
    whose = ("api", "ada", "--tag", "t")
    assert run("ban", *whose) == ["'ada' is banned from 'api' for 1.0 h"]
    assert limiter(db, tag="t").hit("ada").banned
    assert run("ban", *whose, "--lasts", "2d") == [
        "'ada', which was banned already, is banned from 'api' for 2.0 d"
    ]
    assert run("unban", *whose) == ["'ada' is no longer banned from 'api'"]
    assert run("unban", *whose) == ["'ada' was not banned from 'api'"]
    assert limiter(db, tag="t").hit("ada")


@pytest.mark.parametrize(
    ("lasts", "told"),
    [
        ("90", "1.5 min"),
        ("0.5s", "0.5 s"),
        ("15m", "15.0 min"),
        ("1.5 h", "1.5 h"),
        ("7d", "7.0 d"),
    ],
)
def test_how_long_a_ban_lasts_is_said_in_any_unit(lasts: str, told: str, run: Run) -> None:
    assert run("ban", "api", "ada", "--lasts", lasts) == [f"'ada' is banned from 'api' for {told}"]


@pytest.mark.parametrize("lasts", ["1y", "h", "-5", "1h30m", "", "inf"])
def test_what_is_no_time_is_refused(lasts: str, run: Run) -> None:
    assert any("is no time" in line for line in run("ban", "api", "ada", "--lasts", lasts, ends=2))


def test_what_the_library_refuses_is_an_error(run: Run) -> None:
    run("ban", "api", "ada", "--lasts", "0", ends=1)
    run("show", "", "ada", ends=1)


def test_a_subject_in_a_wrong_state_is_an_error(servers: Servers, prefix: str) -> None:
    redis_py(servers.get("embedded").url).rpush(f"{prefix}:limit:{{api:x}}", "text")
    where = ["--url", servers.get("embedded").url, "--prefix", prefix]
    done = CliRunner().invoke(app, ["limits", "show", "api", "x", *where])
    assert isinstance(done.exception, octavo.WrongType)
