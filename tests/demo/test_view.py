from __future__ import annotations

from datetime import datetime

from octavo.demo.flights import NEW_YORK, Flight
from octavo.demo.replay import BEST, Standings
from octavo.demo.view import View, clock
from octavo.leaderboards import Entry, Event

NOON = datetime(2013, 7, 9, 12, tzinfo=NEW_YORK)
FLIGHT = Flight(NOON, NOON, NOON, 0, "B6", 1, "N1", "JFK", "LAX", 340, 2475)
NOTHING = Standings([], [], [], [], [], [])
REFRESHES_IN_SIGHT = 10


def routes(*ranks: tuple[str, int]) -> Standings:
    entries = [Entry(member, 1000.0, rank) for member, rank in ranks]
    return NOTHING._replace(routes=entries)


def shown(view: View, standings: Standings, rows: int = 10) -> dict[str, tuple[str, str]]:
    panel = view.panels(standings, rows)[0]
    return {row.member: (row.rank, row.movement) for row in panel.rows}


def test_members_are_named_and_scores_have_their_units() -> None:
    route = [Entry("JFK-LAX", 1225.0, 1)]
    standings = Standings(
        route,
        [Entry("B6", 0.5, 1, None, (0.5, 1106.0))],
        [Entry("N1", 911.0, 1)],
        route,
        route,
        route,
    )

    panels = View([FLIGHT]).panels(standings, 10)

    of_route = ("JFK-LAX", "Los Angeles Intl", "1,225", "departures")
    assert [
        (row.member, row.name, row.score, panel.unit) for panel in panels for row in panel.rows
    ] == [
        of_route,
        ("B6", "JetBlue Airways", "50.0% (1,106)", "on time (arrivals)"),
        ("N1", "JetBlue Airways", "911", "minutes late in all"),
        of_route,
        of_route,
        of_route,
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


def test_a_route_may_move_in_one_period_and_not_in_another() -> None:
    view = View([FLIGHT])
    lax, sfo = Entry("JFK-LAX", 1.0, 1), Entry("JFK-SFO", 1.0, 2)
    for _ in range(REFRESHES_IN_SIGHT):
        view.panels(NOTHING._replace(hour=[lax, sfo], day=[lax, sfo]), 10)

    *_, hour, day, _ = view.panels(
        NOTHING._replace(hour=[Entry("JFK-SFO", 2.0, 1)], day=[lax, sfo]), 10
    )

    assert [(row.member, row.movement) for row in hour.rows] == [("JFK-SFO", "up")]
    assert [row.movement for row in day.rows] == ["same", "same"]


def climb(
    member: str, before: float | None, now: float, kind: str = "changed", table: str = "day:1"
) -> Event:
    return Event("1-0", kind, member, 2.0, now, 1.0, before, table)


def test_the_last_climbs_are_told_the_latest_first() -> None:
    view = View([FLIGHT])

    assert view.climbs([climb("JFK-LAX", 7, 3)]) == ["JFK-LAX up 4 to no. 3"]
    assert view.climbs([]) == ["JFK-LAX up 4 to no. 3"]
    assert view.climbs([climb("A-ATL", 2, 1), climb("B-ATL", 2, 1), climb("C-ATL", 4, 2)]) == [
        "C-ATL up 2 to no. 2",
        "B-ATL up 1 to no. 1",
        "A-ATL up 1 to no. 1",
    ]


def test_a_climb_replaces_the_one_before_of_the_same_route() -> None:
    events = [climb("A-ATL", 3, 2), climb("B-ATL", 3, 2), climb("A-ATL", 2, 1)]

    assert View([FLIGHT]).climbs(events) == ["A-ATL up 1 to no. 1", "B-ATL up 1 to no. 2"]


def test_a_new_day_begins_without_the_climbs_of_the_one_before() -> None:
    view = View([FLIGHT])
    view.climbs([climb("A-ATL", 3, 2)])

    assert view.climbs([climb("B-ATL", None, 1, table="day:2")]) == []


def test_only_who_climbs_to_the_best_is_told_of() -> None:
    events = [
        climb("A-ATL", BEST + 2, BEST + 1),
        climb("B-ATL", 1, 1),
        climb("C-ATL", None, 1),
        climb("D-ATL", 1, 2, "moved"),
        climb("E-ATL", 2, 1, "entered"),
    ]

    assert View([FLIGHT]).climbs(events) == []


def test_the_clock_shows_day_and_minute() -> None:
    assert clock(NOON) == "Tue 09 Jul 2013 12:00"
