"""Records what agoragames' `leaderboard` 3.7.3 answers, for `test_agoragames.py` to compare with.

It needs a redis-py that octavo cannot run with, so it has an environment and a server of its own:

    python3 -m venv /tmp/agora && /tmp/agora/bin/pip install leaderboard==3.7.3 redis==2.10.6
    redis-server --port 6399 --save '' &
    /tmp/agora/bin/python tests/integrations/record_agoragames.py 6399

That empties the server, and writes `agoragames.json` beside this file: the methods and their
arguments; random histories, always the same, each of a class and an order, which octavo must answer
alike; and short ones, in each of which the peer does what octavo deliberately does not.

Histories keep clear of these differences, since some would spoil all that follows. What they have
instead: no equal scores where percentiles are asked, no removal by range where there are data, no
score of 0 on a dense board. The order among equals, on descending boards, differs by design and
everywhere: the test gives members names that sort the other way there.
"""

from __future__ import annotations

import inspect
import json
import random
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("agoragames.json")
PAGE_SIZE = 5
MEMBERS = [f"m{i:02}" for i in range(10, 24)]
BOARDS = ["main", "other"]


def higher(_board: Any, _member: str, now: float | None, new: float, *_rest: Any) -> bool:
    """Allow a score that is higher than the one before, or the first."""
    return now is None or new > now


def played(arguments: list[Any]) -> list[Any]:
    """Return recorded arguments as they are given: the name of `higher` stands for it."""
    return [higher if argument == "higher" else argument for argument in arguments]


class History:
    """Calls of one board's methods, with the peer's answers."""

    def __init__(self, peer: Any, seed: str, kind: str, order: str, flavour: str) -> None:
        self.peer, self.kind, self.order, self.flavour = peer, kind, order, flavour
        self.random = random.Random(seed)
        self.calls: list[list[Any]] = []
        self.unused = list(range(1, 2000))
        self.random.shuffle(self.unused)

    def call(self, method: str, *arguments: Any, **options: Any) -> None:
        """Call a method, and note what it answers or raises."""
        try:
            answer = getattr(self.peer, method)(
                *played(json.loads(json.dumps(arguments))), **options
            )
        except Exception as error:  # noqa: BLE001 - any is an answer
            answer = {"raises": type(error).__name__}
        self.calls.append([method, arguments, options, answer])

    def either(self, own: str, named: str, *arguments: Any, **options: Any) -> None:
        """Call a method's own form or, of any board, its other one."""
        board = self.random.choice(BOARDS)
        if board == "main" and self.random.random() < 0.7:
            self.call(own, *arguments, **options)
        else:
            self.call(named, board, *arguments, **options)

    def on(self, board: str) -> list[str]:
        return [row["member"] for row in self.peer.all_leaders_from(board, members_only=True)]

    def member(self) -> str:
        return self.random.choice(MEMBERS)

    def score(self) -> float:
        if self.flavour == "distinct":
            return self.unused.pop()
        # Halves and whole deltas never make a 0, which the peer's dense boards do not survive.
        half = 0.5 if self.kind == "TieRankingLeaderboard" else 0
        return self.random.randint(-3, 4) + half

    def options(self) -> dict[str, Any]:
        possible: dict[str, list[Any]] = {
            "with_member_data": [True, False],
            "sort_by": ["rank", "score"],
            "members_only": [True, False],
            "page_size": [1, 2, 3, 4, 7],
        }
        return {
            name: self.random.choice(values)
            for name, values in possible.items()
            if self.random.random() < 0.2
        }

    def write(self) -> None:
        """Change a board, one way or another."""
        chance, dense = self.random.random(), self.kind == "TieRankingLeaderboard"
        data = self.flavour == "data"
        beside = [self.random.choice(["red", "blue"])] if data and chance < 0.6 else []
        if chance < 0.45:
            self.either("rank_member", "rank_member_in", self.member(), self.score(), *beside)
        elif chance < 0.6:
            pairs = [(self.member(), self.score()) for _ in range(3)]
            self.either(
                "rank_members", "rank_members_in", [each for pair in pairs for each in pair]
            )
        elif chance < 0.7:
            arguments = ["higher", self.member(), self.score()]
            self.either("rank_member_if", "rank_member_if_in", *arguments)
        elif chance < 0.78 and not dense:
            self.call("rank_member_across", BOARDS, self.member(), self.score(), *beside)
        elif chance < 0.86 and self.flavour != "distinct":
            self.call("change_score_for", self.member(), self.random.choice([-2, -1, 1, 2]))
        elif chance < 0.92:
            self.either("remove_member", "remove_member_from", self.member())
        elif data and (there := self.on("main")):
            name = self.random.choice(there)
            if chance < 0.97:
                self.call("update_member_data", name, "green")
            else:
                self.call("remove_member_data", name)
        elif not data:
            self.remove_some(dense=dense)

    def remove_some(self, *, dense: bool) -> None:
        chance = self.random.random()
        if chance < 0.1:
            self.either("delete_leaderboard", "delete_leaderboard_named")
        elif chance < 0.5:
            low = self.score()
            names = ("remove_members_in_score_range", "remove_members_in_score_range_in")
            self.either(*names, low, low + 1)
        elif not dense:
            names = ("remove_members_outside_rank", "remove_members_outside_rank_in")
            self.either(*names, self.random.randint(3, len(MEMBERS)))
            if self.flavour == "ties" and chance > 0.75:
                self.merge()

    def merge(self) -> None:
        method = self.random.choice(["merge_leaderboards", "intersect_leaderboards"])
        self.call(method, "merged", ["other"], self.random.choice(["SUM", "MIN", "MAX"]))
        self.call("all_leaders_from", "merged")

    def read(self) -> None:
        """Ask for something."""
        some = self.random.randint
        low, first = self.score(), some(-1, 9)
        there = self.on("main")
        questions: list[tuple[Any, ...]] = [
            ("total_members", "total_members_in"),
            ("total_pages", "total_pages_in"),
            ("total_pages", "total_pages_in", some(1, 6)),
            ("total_members_in_score_range", "total_members_in_score_range_in", low, low + 2),
            ("check_member", "check_member_in", self.member()),
            ("score_for", "score_for_in", self.member()),
            ("score_and_rank_for", "score_and_rank_for_in", self.member()),
            ("page_for", "page_for_in", self.member(), some(1, 6)),
            ("score_for_percentile", "score_for_percentile_in", some(-1, 21) * 5),
            ("member_data_for", "member_data_for_in", self.member()),
            ("members_data_for", "members_data_for_in", self.random.sample(MEMBERS, 3)),
        ]
        pages: list[tuple[Any, ...]] = [
            ("leaders", "leaders_in", some(-1, 4)),
            ("all_leaders", "all_leaders_from"),
            ("members_from_score_range", "members_from_score_range_in", low, low + 2),
            (
                "members_from_rank_range",
                "members_from_rank_range_in",
                first,
                max(first + some(-1, 5), 1),
            ),
            ("top", "top_in", some(1, 6)),
            ("member_at", "member_at_in", some(-1, len(MEMBERS))),
            ("around_me", "around_me_in", self.member()),
            ("around_me", "around_me_in", self.member()),
        ]
        if self.kind != "CompetitionRankingLeaderboard":
            questions.append(("rank_for", "rank_for_in", self.member()))
        elif there:
            self.call("rank_for", self.random.choice(there))
        if self.flavour == "distinct":
            questions += 4 * [("percentile_for", "percentile_for_in", self.member())]
        chance = self.random.random()
        if chance < 0.45:
            self.either(*self.random.choice(questions))
        elif chance < 0.85:
            method, named, *arguments = self.random.choice(pages)
            options = self.options()
            if method == "member_at":
                options.pop("sort_by", None)
            self.either(method, named, *arguments, **options)
        elif chance < 0.97:
            self.list_some(there)
        else:
            self.call("total_scores")

    def list_some(self, there: list[str]) -> None:
        options = self.options()
        options.pop("members_only", None)
        if self.random.random() < 0.5:
            wanted = self.random.sample(there, min(4, len(there)))
        else:
            wanted = self.random.sample(MEMBERS, 4)
            options = {"include_missing": False}
            if self.kind == "Leaderboard" and self.random.random() < 0.5:
                options = {}
        self.call("ranked_in_list", wanted, **options)


def histories(classes: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a random history of each class, order and flavour."""
    found = []
    for kind, make in classes.items():
        for order in ("desc", "asc"):
            for flavour in ("ties", "distinct", "data"):
                peer = make(order)
                history = History(peer, f"{kind} {order} {flavour}", kind, order, flavour)
                for _ in range(120):
                    history.random.choice([history.write, history.read, history.read])()
                found.append({"class": kind, "order": order, "calls": history.calls})
    return found


# What leads to each difference, and last the call that shows it.
DIFFERENCES: dict[str, tuple[str, str, list[list[Any]]]] = {
    "equal scores stand by name, also on descending boards": (
        "Leaderboard", "desc",
        [["rank_members", ["ada", 1, "bob", 1]], ["all_leaders"]],
    ),
    "data are what was given": (
        "Leaderboard", "desc",
        [["rank_member", "ada", 1, {"level": 3}], ["member_data_for", "ada"]],
    ),
    "data may be 0": (
        "Leaderboard", "desc",
        [["rank_member", "ada", 1, 0], ["member_data_for", "ada"]],
    ),
    "data may be empty": (
        "Leaderboard", "desc",
        [["change_score_for", "ada", 1, ""], ["member_data_for", "ada"]],
    ),
    "data are of members who are on the board": (
        "Leaderboard", "desc",
        [["update_member_data", "ada", "red"], ["member_data_for", "ada"]],
    ),
    "data go with a range of scores": (
        "Leaderboard", "desc",
        [
            ["rank_member", "ada", 1, "red"],
            ["remove_members_in_score_range", 1, 1],
            ["rank_member", "ada", 2],
            ["member_data_for", "ada"],
        ],
    ),
    "data go with who is outside a rank": (
        "Leaderboard", "desc",
        [
            ["rank_member", "ada", 1, "red"],
            ["remove_members_outside_rank", 0],
            ["rank_member", "ada", 2],
            ["member_data_for", "ada"],
        ],
    ),
    "data stand beside their member when others are missing": (
        "Leaderboard", "desc",
        [
            ["rank_member", "bob", 1, "blue"],
            [
                "ranked_in_list", ["ada", "bob"],
                {"with_member_data": True, "include_missing": False},
            ],
        ],
    ),
    "competition ranks stand beside their member when others are missing": (
        "CompetitionRankingLeaderboard", "desc",
        [
            ["rank_members", ["ada", 2, "bob", 1]],
            ["ranked_in_list", ["eve", "bob"]],
        ],
    ),
    "who is missing has no competition rank": (
        "CompetitionRankingLeaderboard", "desc", [["rank_for", "eve"]],
    ),
    "who is missing sorts last": (
        "Leaderboard", "asc",
        [["rank_member", "ada", 1], ["ranked_in_list", ["eve", "ada"], {"sort_by": "rank"}]],
    ),
    "who is missing sorts last on dense boards": (
        "TieRankingLeaderboard", "desc",
        [["rank_member", "ada", 1], ["ranked_in_list", ["eve", "ada"], {"sort_by": "rank"}]],
    ),
    "only members are listed if asked for": (
        "Leaderboard", "desc",
        [["rank_member", "ada", 1], ["ranked_in_list", ["ada"], {"members_only": True}]],
    ),
    "a change by 0 leaves a dense rank": (
        "TieRankingLeaderboard", "desc",
        [["rank_member", "ada", 1], ["change_score_for", "ada", 0], ["rank_for", "ada"]],
    ),
    "a score of 0 leaves no dense rank behind": (
        "TieRankingLeaderboard", "asc",
        [
            ["rank_members", ["ada", 0, "bob", 1]],
            ["remove_member", "ada"],
            ["rank_for", "bob"],
        ],
    ),
    "a trim leaves no dense rank behind": (
        "TieRankingLeaderboard", "asc",
        [
            ["rank_members", ["ada", 1, "bob", 2]],
            ["remove_members_outside_rank", 1],
            ["rank_member", "cyd", 3],
            ["rank_for", "cyd"],
        ],
    ),
    "data come along in a merge": (
        "Leaderboard", "desc",
        [
            ["rank_member", "ada", 1, "red"],
            ["merge_leaderboards", "merged", []],
            ["member_data_for_in", "merged", "ada"],
        ],
    ),
    "merged boards have dense ranks": (
        "TieRankingLeaderboard", "desc",
        [
            ["rank_members", ["ada", 1, "bob", 1]],
            ["merge_leaderboards", "merged", []],
            ["rank_for_in", "merged", "ada"],
        ],
    ),
    "a dense board is ranked across": (
        "TieRankingLeaderboard", "desc",
        [["rank_member_across", ["main", "other"], "ada", 1], ["rank_for_in", "other", "ada"]],
    ),
    "a change is to the score on the board named": (
        "TieRankingLeaderboard", "desc",
        [
            ["rank_member", "ada", 100],
            ["change_score_for_member_in", "other", "ada", 1],
            ["score_for_in", "other", "ada"],
        ],
    ),
    "the sum is of the board named": (
        "Leaderboard", "desc",
        [["rank_member_in", "other", "ada", 1], ["total_scores_in", "other"]],
    ),
    "equal scores have one percentile": (
        "Leaderboard", "desc",
        [["rank_members", ["ada", 1, "bob", 1]], ["percentile_for", "bob"]],
    ),
    "equal scores have one percentile on ascending boards": (
        "Leaderboard", "asc",
        [["rank_members", ["ada", 1, "bob", 1]], ["percentile_for", "bob"]],
    ),
    "percentiles are rounded once": (
        "Leaderboard", "desc",
        [
            ["rank_members", [each for i in range(20) for each in (f"m{i:02}", i)]],
            ["percentile_for", "m11"],
        ],
    ),
    "pages are as long as the board's": (
        "Leaderboard", "desc",
        [
            ["rank_members", [each for i in range(6) for each in (f"m{i:02}", i)]],
            ["page_for", "m00"],
        ],
    ),
    "the top 0 are nobody": (
        "Leaderboard", "desc", [["rank_member", "ada", 1], ["top", 0]],
    ),
    "a page has leaders": (
        "Leaderboard", "desc", [["rank_member", "ada", 1], ["leaders", 1, {"page_size": 0}]],
    ),
    "bounds do not cross": (
        "Leaderboard", "desc", [["members_from_score_range", 2, 1]],
    ),
    "options exist": (
        "Leaderboard", "desc", [["leaders", 1, {"with_members_data": True}]],
    ),
    "members are text": (
        "Leaderboard", "desc", [["rank_member", 7, 1]],
    ),
    "scores are numbers": (
        "Leaderboard", "desc", [["rank_member", "ada", "1"]],
    ),
    "scores are finite": (
        "Leaderboard", "desc", [["rank_member", "ada", float("inf")]],
    ),
}  # fmt: skip


def differences(classes: dict[str, Any]) -> dict[str, Any]:
    """Return what the peer answers where octavo deliberately answers otherwise."""
    found = {}
    for name, (kind, order, calls) in DIFFERENCES.items():
        history = History(classes[kind](order), name, kind, order, "")
        for method, *arguments in calls:
            options = arguments.pop() if arguments and is_options(method, arguments[-1]) else {}
            history.call(method, *arguments, **options)
        found[name] = {"class": kind, "order": order, "calls": history.calls}
    return found


def is_options(method: str, argument: object) -> bool:
    return isinstance(argument, dict) and method != "rank_member"


def methods(board: Any) -> dict[str, list[str]]:
    """Return the names of the arguments of each public method."""
    return {
        name: [*inspect.signature(method).parameters]
        for name, method in inspect.getmembers(board, inspect.ismethod)
        if not name.startswith("_") and name != "pool"
    }


def main(port: int) -> None:
    """Ask the peer, and write the file."""

    def maker(kind: str) -> Any:
        module = re.sub(r"(?<=.)(?=[A-Z])", "_", kind).lower()
        peer = getattr(import_module(f"leaderboard.{module}"), kind)

        def make(order: str) -> Any:
            board = peer(
                BOARDS[0], order=order, page_size=PAGE_SIZE, port=port, decode_responses=True
            )
            board.redis_connection.flushdb()
            return board

        return make

    kinds = ("Leaderboard", "CompetitionRankingLeaderboard", "TieRankingLeaderboard")
    makers = {kind: maker(kind) for kind in kinds}
    recorded = {
        "methods": methods(makers["Leaderboard"]("desc")),
        "alike": histories(makers),
        "different": differences(makers),
    }
    FILE.write_text(json.dumps(recorded, separators=(",", ":")), encoding="utf-8")


if __name__ == "__main__":
    main(int(sys.argv[1]))
