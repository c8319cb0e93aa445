from __future__ import annotations

from datetime import datetime

from octavo.demo.flights import NEW_YORK, Flight
from octavo.demo.replay import Standings
from octavo.demo.view import View, clock
from octavo.leaderboards import Entry

NOON = datetime(2013, 7, 9, 12, tzinfo=NEW_YORK)
FLIGHT = Flight(NOON, NOON, NOON, 0, "B6", 1, "N1", "JFK", "LAX", 340, 2475)
REFRESHES_IN_SIGHT = 10


def routes(*ranks: tuple[str, int]) -> Standings:
    return Standings([Entry(member, 1000.0, rank) for member, rank in ranks], [], [])


def shown(view: View, standings: Standings, rows: int = 10) -> dict[str, tuple[str, str]]:
    panel = view.panels(standings, rows)[0]
    return {row.name.partition(" ")[0]: (row.rank, row.movement) for row in panel.rows}


def test_members_are_named_and_scores_have_their_units() -> None:
    standings = Standings(
        [Entry("JFK-LAX", 1225.0, 1)],
        [Entry("B6", 0.5, 1, None, (0.5, 1106.0))],
        [Entry("N1", 911.0, 1)],
    )

    panels = View([FLIGHT]).panels(standings, 10)

    assert [(panel.rows[0].name, panel.rows[0].score) for panel in panels] == [
        ("JFK-LAX  Los Angeles Intl", "1,225"),
        ("B6  JetBlue Airways", "50.0% (1,106)"),
        ("N1  JetBlue Airways", "911"),
    ]
    assert [panel.unit for panel in panels] == [
        "departures",
        "on time (arrivals)",
        "minutes late in all",
    ]


def test_a_shared_rank_is_marked_also_where_the_other_is_cut_off() -> None:
    standings = routes(("JFK-LAX", 1), ("JFK-SFO", 2), ("LGA-ATL", 2), ("LGA-ORD", 4), ("A-ORD", 4))

    rows = shown(View([FLIGHT]), standings, 4)

    assert [rank for rank, _ in rows.values()] == ["1", "=2", "=2", "=4"]


def test_movements_are_against_the_refresh_before() -> None:
    view = View([FLIGHT])
    before = routes(("JFK-LAX", 1), ("JFK-SFO", 2), ("LGA-ATL", 3))
    for _ in range(REFRESHES_IN_SIGHT):
        view.panels(before, 10)
    still = shown(view, before)

    moved = shown(view, routes(("JFK-SFO", 1), ("JFK-LAX", 2), ("LGA-ATL", 3), ("LGA-ORD", 4)))

    assert {movement for _, movement in still.values()} == {"same"}
    assert {member: movement for member, (_, movement) in moved.items()} == {
        "JFK-SFO": "up",
        "JFK-LAX": "down",
        "LGA-ATL": "same",
        "LGA-ORD": "new",
    }


def test_a_movement_stays_in_sight_for_some_refreshes() -> None:
    view = View([FLIGHT])

    movements = [
        shown(view, routes(("JFK-LAX", 1)))["JFK-LAX"][1] for _ in range(REFRESHES_IN_SIGHT + 1)
    ]

    assert movements == ["new"] * REFRESHES_IN_SIGHT + ["same"]


def test_who_comes_back_to_the_board_is_new_again() -> None:
    view = View([FLIGHT])
    view.panels(routes(("JFK-LAX", 1), ("LGA-ATL", 2)), 10)
    view.panels(routes(("JFK-LAX", 1)), 10)
    for _ in range(REFRESHES_IN_SIGHT):
        view.panels(routes(("JFK-LAX", 1)), 10)

    assert shown(view, routes(("JFK-LAX", 1), ("LGA-ATL", 2)))["LGA-ATL"] == ("2", "new")


def test_the_clock_shows_day_and_minute() -> None:
    assert clock(NOON) == "Tue 09 Jul 2013 12:00"
