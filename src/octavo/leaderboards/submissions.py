"""What was submitted, as the scripts take it, and what became of it, as they tell it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from msgspec.structs import replace

from octavo.engine.codec import encode
from octavo.engine.keys import name_bytes
from octavo.errors import SubmissionRefused, Unavailable
from octavo.leaderboards.records import Submission
from octavo.leaderboards.standings import rank_of
from octavo.leaderboards.tables import ALL_TIME, told_to_ask_again

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from octavo.engine.script import Argument
    from octavo.leaderboards.definition import Definition
    from octavo.leaderboards.scores import Scale, Score
    from octavo.leaderboards.tables import Tables


def arguments(
    definition: Definition,
    parameter: str,
    pairs: Sequence[tuple[str, Score]],
    data_of: Callable[[str], object],
) -> list[Argument]:
    """Return members, places and payloads, one after the other."""
    args: list[Argument] = []
    for member, score in pairs:
        name = name_bytes("member", member)
        places = definition.scale.places(parameter, score)
        args += (name, *places, payload(data_of(member)))
    return args


def payload(data: object) -> bytes:
    """Return data as it is stored; nothing for None."""
    return b"" if data is None else encode("data", data)


def pairs_of(
    scores: Mapping[str, Score] | Iterable[tuple[str, Score]],
) -> list[tuple[str, Score]]:
    """Return pairs of member and score, or refuse what is none."""
    try:
        given: Any = scores
        pairs: Any = cast("Any", given).items() if isinstance(given, Mapping) else given
        return [(member, score) for member, score in pairs]
    except (TypeError, ValueError) as error:
        raise TypeError(f"scores must be pairs of member and score: {error}") from error


def of_one_table(definition: Definition, rows: list[list[Any]]) -> list[Submission]:
    """Read the reply of a submission to one table."""
    return [_submission(definition, definition.scale, row) for row in rows]


def of_all_tables(
    definition: Definition, tables: Tables, reply: list[Any], *, fresh: bool
) -> list[Submission]:
    """Read the reply of a submission to all tables of a board.

    Args:
        definition: of the board.
        tables: of the board.
        reply: of the script.
        fresh: whether it is surely not one that was kept for a while.

    Raises:
        SubmissionRefused: some were refused.
    """
    if told_to_ask_again(reply):
        raise _not_done(*reply[2:])
    now, refused, ids, *replies = reply
    if fresh:
        tables.clock.learn(now)
    scale = definition.scale.at(now)
    found = {
        name.decode(): [_submission(definition, scale, row) for row in rows]
        for name, rows in replies
    }
    main = found.pop(ALL_TIME)
    results = [
        replace(
            one,
            id=None if ids[i] is None else ids[i].decode(),
            periods={name: rows[i] for name, rows in found.items()},
        )
        for i, one in enumerate(main)
    ]
    if refused:
        raise _refused(refused, results)
    return results


def _not_done(refused: Any = None) -> Exception:
    if refused is None:
        return Unavailable("the server's clock says something else each time it is asked")
    if not refused:
        return ValueError("at must not be later than the time of the server")
    return _refused(refused, [])


def _refused(reply: list[list[bytes]], submissions: list[Submission]) -> SubmissionRefused:
    refusals = [(member.decode(), reason.decode()) for member, reason in reply]
    what = ", ".join(f"{member} ({reason})" for member, reason in refusals)
    return SubmissionRefused(f"refused: {what}", refusals=refusals, submissions=submissions)


def _submission(definition: Definition, scale: Scale, row: list[Any]) -> Submission:
    accepted, key, place, rank, old_key, old_place, old_rank = row
    columns = definition.columns
    member = key[definition.prefix :].decode()
    if old_key is None or old_place is None:
        score, scores = scale.score(place), scale.scores(place, key)
        return Submission(member, True, score, None, rank_of(rank), None, True, scores)  # noqa: FBT003
    before = (float(old_place), old_key[:columns])
    return Submission(
        member,
        accepted == 1,
        scale.score(place),
        scale.score(old_place),
        rank_of(rank),
        rank_of(old_rank),
        (float(place), key[:columns]) < before,
        scale.scores(place, key),
        scale.scores(old_place, old_key),
    )
