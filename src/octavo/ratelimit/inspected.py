"""What there is to see of limits: what was used of them, and who is banned."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - msgspec reads it

import msgspec


class RuleUsage(msgspec.Struct, frozen=True):
    """What a subject has left of one limit.

    Of a `Quota` it is what was left when it was used last: that its period has ended is known once
    it is used again, or forgotten.

    Attributes:
        name: the limit's name.
        algorithm: "gcra", "fixed", "sliding", "segmented", "log", "quota" or "concurrency".
        remaining: units left: the largest cost that would pass now; 0 while later ones are booked.
        most: the largest cost that can ever pass.
        reset_after: seconds until nothing is left of what was used; of a `Quota`, at most.
        shadow: whether it only reports.
    """

    name: str
    algorithm: str
    remaining: int
    most: int
    reset_after: float
    shadow: bool


class BanState(msgspec.Struct, frozen=True):
    """That a subject is banned, or was and will be for longer next time.

    Attributes:
        until: when the ban ends, by the server's clock; None if it has ended.
        row: how many bans there were in a row, this one included; one by hand is not counted.
    """

    until: datetime | None
    row: int


class Usage(msgspec.Struct, frozen=True):
    """What a limiter has stored of a subject.

    Attributes:
        limiter: the limiter's name.
        subject: who; if it was over 128 bytes long, its beginning and a digest.
        tag: the limiter's tag, or what its `partition` has made of the subject.
        rules: what is left of each limit.
        ban: whether it is banned; None if it is not and was not.
        ttl: seconds until all of it is forgotten, if nothing is used until then.
    """

    limiter: str
    subject: str
    tag: str | None
    rules: tuple[RuleUsage, ...]
    ban: BanState | None
    ttl: float
