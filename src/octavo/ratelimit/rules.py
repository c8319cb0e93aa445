"""Several rules as the scripts are told of them, and what the scripts answer."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from octavo.ratelimit.decision import Decision, LimitState, Receipt
from octavo.ratelimit.lanes import lane_of
from octavo.ratelimit.layout import APART, own_key
from octavo.ratelimit.limits import Quota

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from octavo.ratelimit.lanes import Passed
    from octavo.ratelimit.limits import Ban, Rule

KINDS = ("", "gcra", "fixed", "sliding", "segmented", "log", "quota", "concurrency")
"""The algorithms, by the numbers that the scripts have for them."""

_CARRY = {"as_is": 0, "proportional": 1, "reset": 2}
MOST_COST = 2**40 - 1
"""What a call can ask for at most: five bytes."""
_VERSION = 1
"""Of what the scripts are told and store."""
_HEAD, _FIELDS = 5, 6
"""Numbers of a reply before those of each rule, and of each rule."""


class RuleSet:
    """Some rules, and which of the keys of a script each of them has.

    Args:
        rules: the rules.
        places: for each, the number of its subject's key, from 1.

    Attributes:
        rules: the rules.
        ones: what the script is told if each costs 1.
        packed: what the script is told of them.
        lane: how it may be asked in short; None for not at all.
        split: what it is told of each subject's, in a lane; nothing of a single one.
        takes_places: whether one is a `Concurrency`.
        quotas: whether one is a `Quota`.
    """

    def __init__(self, rules: Sequence[Rule], places: Sequence[int]) -> None:
        self.rules = tuple(rules)
        self.places = tuple(places)
        self.ones = pack_costs((1,) * len(self.rules))
        self.takes_places = any(rule.algorithm == "concurrency" for rule in rules)
        self._apart: list[tuple[int, Rule]] = []
        own = max(places)
        numbers: list[bytes] = []
        names: list[bytes] = []
        for rule, place in zip(rules, places, strict=True):
            extra = rule.algorithm in APART
            if extra:
                own += 1
                self._apart.append((place - 1, rule))
            numbers.extend(_number(number) for number in (*rule.numbers(), 0, 0)[:3])
            names.append(_named(rule, place, own if extra else 0))
        self.packed = bytes((_VERSION, len(self.rules))) + b"".join(numbers) + b"".join(names)
        self.quotas = any(isinstance(rule, Quota) for rule in rules)
        self.lane = lane_of(rules) if self.places == tuple(sorted(places)) else None
        self.split = self._split() if self.lane is not None and own > 1 else ()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what it is made of."""
        return RuleSet, (self.rules, self.places)

    def _split(self) -> tuple[bytes, ...]:
        by_place: dict[int, list[Rule]] = {}
        for rule, place in zip(self.rules, self.places, strict=True):
            by_place.setdefault(place, []).append(rule)
        return tuple(RuleSet(rules, (1,) * len(rules)).packed for rules in by_place.values())

    def keys(self, subjects: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """Return the keys of the script, given those of the subjects."""
        if not self._apart:
            return subjects
        return (*subjects, *(own_key(subjects[place], rule) for place, rule in self._apart))

    def periods(self, now_us: int) -> bytes:
        """Return the periods of quotas at about this time, as the script is told of them."""
        return b"".join(
            b"".join(_number(at) for at in rule.periods(now_us))
            if isinstance(rule, Quota)
            else bytes(21)
            for rule in self.rules
        )

    def told(
        self, told: Passed, reply: bytes, costs: tuple[int, ...], keys: tuple[bytes, ...]
    ) -> Decision:
        """Return what a lane says of a call that is allowed."""
        return Decision(
            allowed=True,
            limit=self.rules[told.binding].limit,
            remaining=told.remaining,
            retry_after=0.0,
            reset_after=told.reset / 1e6,
            cost=max(costs),
            at=told.now / 1e6,
            limits=States(self, reply, costs),
            receipts=(Receipt(keys, self, costs, told.now, told.now, told.marks, b""),),
        )

    def decision(
        self,
        reply: list[int],
        keys: tuple[bytes, ...],
        costs: tuple[int, ...] | None,
        places: bytes,
    ) -> Decision:
        """Return what a reply says.

        Args:
            reply: of the script.
            keys: those it was given; none if nothing is to be given back later.
            costs: what was charged of each rule, if the call is allowed; None for as much as the
                script says.
            places: names the places that were taken.
        """
        allowed, now, delay, banned, cost = reply[:_HEAD]
        states = States(self, reply, ())
        at, denying = self._binding(reply)
        receipts: tuple[Receipt, ...] = ()
        if allowed and keys:
            marks = tuple(reply[_HEAD + 5 :: _FIELDS])
            # A shadow rule was not charged what does not fit.
            fits = reply[_HEAD::_FIELDS]
            charged = costs or (cost,) * len(marks)
            charged = tuple(units * fit for units, fit in zip(charged, fits, strict=True))
            receipts = (Receipt(keys, self, charged, now, now + delay, marks, places),)
        retry: float | None = 0.0
        if not allowed:
            waits = reply[at + 2] if denying else 0
            retry = None if waits < 0 else max(waits, banned) / 1e6
        return Decision(
            allowed=allowed == 1,
            limit=self.rules[at // _FIELDS].limit,
            remaining=reply[at + 1],
            retry_after=retry,
            reset_after=reply[at + 4] / 1e6,
            violated=() if allowed else ("ban", *denying) if banned else denying,
            banned=banned > 0,
            delay=delay / 1e6,
            cost=cost,
            at=now / 1e6,
            limits=states,
            receipts=receipts,
        )

    def binding(self, reply: list[int]) -> int | None:
        """Return which rule it is that a denied call has to wait for; None for a ban."""
        return None if reply[3] else self._binding(reply)[0] // _FIELDS

    def later(self, reply: list[int], micros: int) -> list[int]:
        """Return what a reply that denies comes to some time later, if nothing else happens."""
        allowed, now, delay, banned, cost = reply[:_HEAD]
        full = [allowed, now + micros, delay, max(banned - micros, 0), cost]
        for at in range(_HEAD, len(reply), _FIELDS):
            fits, room, *times, mark = reply[at : at + _FIELDS]
            wait, refill, reset = (time if time < 0 else max(time - micros, 0) for time in times)
            full += (fits or int(wait == 0), room, wait, refill, reset, mark)
        return full

    def _binding(self, reply: list[int]) -> tuple[int, tuple[str, ...]]:
        """Return where the binding rule's numbers are, and the names of those that deny."""
        if len(self.rules) == 1:
            only = self.rules[0]
            return _HEAD, () if reply[_HEAD] or only.shadow else (only.name,)
        every = range(_HEAD, len(reply), _FIELDS)
        enforced = [at for at in every if not self.rules[at // _FIELDS].shadow]
        denying = [at for at in enforced if not reply[at]]
        if denying:
            binding = max(denying, key=lambda at: math.inf if reply[at + 2] < 0 else reply[at + 2])
            return binding, tuple(self.rules[at // _FIELDS].name for at in denying)
        return min(enforced or every, key=lambda at: reply[at + 1]), ()


class States(Mapping[str, LimitState]):
    """What each rule says, by name: made of the reply when somebody looks."""

    __slots__ = ("_costs", "_held", "_known", "_reply", "_states")

    def __init__(
        self, known: RuleSet, reply: list[int] | bytes, costs: tuple[int, ...], held: int = 0
    ) -> None:
        self._known = known
        self._reply = reply
        self._costs = costs
        self._held = held
        self._states: dict[str, LimitState] | None = None

    def holding(self, units: int) -> States:
        """Return the same for a process that holds so many units of each rule besides."""
        return States(self._known, self._reply, self._costs, units)

    def _made(self) -> dict[str, LimitState]:
        if self._states is None:
            known, reply = self._known, self._reply
            if isinstance(reply, bytes):
                assert known.lane is not None  # noqa: S101 - for checkers
                reply = known.lane.full(reply, self._costs)
            states: dict[str, LimitState] = {}
            for rule, at in zip(known.rules, range(_HEAD, len(reply), _FIELDS), strict=True):
                fits, room, wait, refill, reset = reply[at : at + 5]
                room += self._held * fits
                states[rule.name] = _state(rule, reply[1], fits, room, wait, refill, reset)
            self._states = states
        return self._states

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what it says."""
        return dict, (self._made(),)

    def __getitem__(self, name: str) -> LimitState:
        return self._made()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._made())

    def __len__(self) -> int:
        return len(self._known.rules)

    def __repr__(self) -> str:
        return repr(self._made())


def merged(decisions: Sequence[Decision], names: Sequence[str]) -> Decision:
    """Return what several decisions about the same call come to, which has to pass in each.

    If it does not pass, what some of them have charged is taken for given back.

    Args:
        decisions: about some of its limits each.
        names: of the limits, in the order of the call.
    """
    denying = [decision for decision in decisions if not decision]
    binding = (
        max(denying, key=lambda said: math.inf if said.retry_after is None else said.retry_after)
        if denying
        else min(decisions, key=lambda said: said.remaining)
    )
    limits = {name: state for said in decisions for name, state in said.limits.items()}
    violated = {name for said in denying for name in said.violated}
    return replace(
        binding,
        violated=tuple(name for name in ("ban", *names) if name in violated),
        banned=any(said.banned for said in denying),
        limits={name: limits[name] for name in names},
        receipts=() if denying else tuple(each for said in decisions for each in said.receipts),
    )


def _state(  # noqa: PLR0917 - private
    rule: Rule, now: int, fits: int, remaining: int, wait: int, refill: int, reset: int
) -> LimitState:
    window = rule.window
    if isinstance(rule, Quota):
        start, end, _ = rule.periods(now)
        window = (end - start) / 1e6
    return LimitState(
        name=rule.name,
        allowed=fits == 1,
        limit=rule.limit,
        remaining=remaining,
        retry_after=0.0 if fits else None if wait < 0 else wait / 1e6,
        reset_after=reset / 1e6,
        refill_after=refill / 1e6,
        window=window,
        unit="concurrent-requests" if rule.algorithm == "concurrency" else "requests",
        shadow=rule.shadow,
    )


def pack_costs(costs: Sequence[int]) -> bytes:
    """Return costs as the script takes them."""
    return b"".join([cost.to_bytes(5, "big") for cost in costs])


def pack_ban(ban: Ban) -> bytes:
    """Return a policy as the script takes it."""
    after, within, lasts, growth, longest, forget = ban.numbers()
    times = [_number(int(micros)) for micros in (within, lasts, longest, forget)]
    return struct.pack(">I7s7sd7s7s", int(after), *times[:2], growth, *times[2:])


def pack_changes(receipt: Receipt, charged: Sequence[int], used: Sequence[int]) -> bytes:
    """Return what the script takes to settle a receipt."""
    return b"".join(
        taken.to_bytes(5, "big")
        + left.to_bytes(5, "big")
        + b"".join([_number(number) for number in (receipt.at, mark, receipt.asked)])
        for taken, left, mark in zip(charged, used, receipt.marks, strict=True)
    )


def _named(rule: Rule, place: int, own: int) -> bytes:
    name = rule.name.encode()
    flags = rule.shadow + 2 * _CARRY[rule.carry]
    return bytes((KINDS.index(rule.algorithm), flags, place, own, len(name))) + name


def _number(value: int) -> bytes:
    return value.to_bytes(7, "big")
