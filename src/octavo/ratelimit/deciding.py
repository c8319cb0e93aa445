"""What limiters send: questions, what becomes of them without an answer, and what is given back."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar, cast

from msgspec.structs import replace

from octavo.engine.breaker import Circuits
from octavo.engine.checks import whole
from octavo.engine.command import Command, answer
from octavo.engine.keys import slot
from octavo.errors import ConnectionLost, OutOfMemory, Unavailable, WriteRefused
from octavo.ratelimit.decision import Decision
from octavo.ratelimit.denials import changing
from octavo.ratelimit.limits import Rule
from octavo.ratelimit.local import LocalLimiter
from octavo.ratelimit.rules import MOST_COST, RuleSet, merged, pack_changes, pack_costs
from octavo.ratelimit.scripts import DECIDE, PEEK, SETTLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from octavo.engine.command import Common, Word
    from octavo.engine.tracking import Ticket
    from octavo.errors import OctavoError
    from octavo.ratelimit.ahead import Lot
    from octavo.ratelimit.decision import Receipt
    from octavo.ratelimit.denials import Denials
    from octavo.ratelimit.lanes import Lane

log = logging.getLogger("octavo")

# Any, because a mapping is not one of limits to a checker if it is one of a kind of them.
Cost = int | Mapping[Any, int]
OnError = Literal["raise", "open", "closed", "local"]
Mode = Literal["hit", "peek", "take", "ahead"]
T = TypeVar("T")

NO_ANSWER = (ConnectionLost, Unavailable, OutOfMemory, WriteRefused)
"""The errors that `on_error` decides about."""

_NOTHING, _DONE = answer(value=False), answer(value=True)
_KNOWN_SETS = 1000
_settling = threading.Lock()
"""Held while a receipt is claimed, which is good for once."""


class Asked(NamedTuple):
    """What a call asks for.

    Attributes:
        rules: under which rules.
        keys: of whom: of each rule's subject, or one for all.
        costs: for how much of each rule.
        holder: names the places that it takes.
    """

    rules: tuple[Rule, ...]
    keys: tuple[bytes, ...]
    costs: tuple[int, ...]
    holder: bytes = b""

    def only(self, indices: list[int]) -> Asked:
        """Return what it asks for under some of the rules."""
        return Asked(
            tuple(self.rules[i] for i in indices),
            tuple(self.keys[i] for i in indices),
            tuple(self.costs[i] for i in indices),
            self.holder,
        )


class Decider:
    """Carries what the limiters of one name ask for.

    Args:
        common: of the client.
        name: of the limiters, for the log.
        on_error: what is said when there is no answer.
        within: seconds after which there is none.
        ban: the policy as the script takes it; empty for none.
        denials: where to look first; None for nowhere.
        scattered: whether subjects may be in different slots.
        own: the rules asked about most; None for none.
    """

    def __init__(
        self,
        common: Common,
        name: str,
        *,
        on_error: OnError,
        within: float | None,
        ban: bytes,
        denials: Denials | None,
        scattered: bool,
        own: RuleSet | None,
    ) -> None:
        self._within = within
        self._topology = common.topology
        self._tracker = common.tracker
        self._name = name
        self._on_error = on_error
        self._ban = ban
        self._denials = denials
        self._scattered = scattered
        self._own = own
        self._sets: dict[tuple[tuple[Rule, ...], tuple[int, ...]], RuleSet] = {}
        self._circuits: Circuits = common.shared("limits", lambda: Circuits(common))
        self._here: _Here = common.shared(f"limits of {name}", _Here)
        self._clock: _Clock = common.shared("limits' clock", _Clock)

    @property
    def within(self) -> float | None:
        """Seconds after which there is no answer; None for the client's timeout."""
        if self._topology.generation == 0 and self._topology.target.kind == "embedded":
            return None  # its start takes longer than its answers
        return self._within

    def decide(
        self,
        asked: Asked,
        mode: Mode = "hit",
        wait: int = 0,
        *,
        most: int = 0,
        ticket: Ticket | None = None,
    ) -> Command[Decision]:
        """Return the Command that decides about a call.

        Args:
            asked: what it asks for.
            mode: whether it is charged, and for how much. "take" is for as much as there is, and
                so is "ahead", but for what it costs if there is no server.
            wait: microseconds that it can wait; negative for any.
            most: units to take at most, where the costs are the least.
            ticket: has the server tell of changes of what was looked at.
        """
        keys = asked.keys
        if self._scattered and len(keys) > 1 and len({slot(key) for key in keys}) > 1:
            return self._in_waves(asked, mode)
        if self._denials is not None and mode in {"hit", "ahead"} and wait == 0:
            if (denied := self._denials.known(asked)) is not None:
                return denied
            ticket = ticket or self._denials.ticket(keys)
        command = self._ask(asked, mode, wait, most, ticket)
        return self._with_policy(command, asked, mode, wait, most)

    def settle(self, decision: Decision, actual: Cost | None) -> Command[bool]:
        """Return the Command that has a call charged what it has used; None is nothing."""
        used = [_used(receipt, actual) for receipt in decision.receipts]
        with _settling:
            receipts = list(zip(decision.receipts, used, strict=True))
            receipts = [(receipt, units) for receipt, units in receipts if not receipt.settled]
            for receipt, _ in receipts:
                receipt.settled = True
        return self.together([self._settle(*each) for each in receipts])

    def _settle(self, receipt: Receipt, used: tuple[int, ...]) -> Command[Any]:
        charged = receipt.costs
        if receipt.lot is not None and used != charged:
            charged = _put_back(receipt.lot, charged, used)
            if used == charged:
                return _DONE
        change = self._change(receipt, pack_changes(receipt, charged, used))
        if self._denials is not None:
            for key in receipt.keys:
                change = changing(self._tracker, key, change)
        return change

    def _change(self, receipt: Receipt, changes: bytes) -> Command[Any]:
        rules = receipt.rules
        periods = rules.periods(self._clock.now) if rules.quotas else b""

        def read(reply: list[int] | None) -> bool:
            if reply is not None:
                self._clock.hear(reply[1])
            return reply is None

        def again(done: bool) -> Command[Any] | None:  # noqa: FBT001 - what `read` says
            return None if done else self._change(receipt, changes)

        words = (rules.packed, changes, receipt.holder, periods)
        return replace(SETTLE.once(receipt.keys, words, read), then=again if periods else None)

    def undo(self, decision: Decision, used: int | None = None) -> Command[bool]:
        """Return the Command that gives back what was not used, if that is possible."""
        return replace(self.settle(decision, used), recover=_left)

    def together(self, parts: list[Command[int]]) -> Command[bool]:
        """Return the Command that carries several, and tells whether all of them say so."""
        if len(parts) < 2:
            return replace(parts[0].map(bool), within=self.within) if parts else _NOTHING
        return Command((), (), all, parts=tuple(parts), within=self.within)

    def behind(self, backs: Sequence[Command[Any]], command: Command[T]) -> Command[T]:
        """Return the Command that gives back first, and tells what another one says."""
        if not backs:
            return command

        def last(said: list[Any]) -> T:
            return cast("T", said[-1])

        return Command((), (), last, parts=(*backs, command), within=self.within)

    def _with_policy(
        self, command: Command[Decision], asked: Asked, mode: Mode, wait: int = 0, most: int = 0
    ) -> Command[Decision]:
        if self._on_error == "raise":
            return command

        def recover(error: OctavoError) -> Decision:
            if not isinstance(error, NO_ANSWER):
                raise error
            self._circuits.failed(command.all_keys, error)
            if not self._here.told:
                self._here.told = True
                log.warning(
                    "octavo decides about %r without the server (%s): %s",
                    self._name,
                    self._on_error,
                    error,
                )
            return self._without_server(asked, mode, wait, most)

        if self._circuits.open(command.all_keys):
            return answer(self._without_server(asked, mode, wait, most))
        return replace(command, recover=recover)

    def _ask(
        self, asked: Asked, mode: Mode, wait: int, most: int, ticket: Ticket | None
    ) -> Command[Decision]:
        costs = asked.costs
        known, keys = self._known(asked)
        packed = known.ones if costs[0] == 1 and max(costs) == 1 else pack_costs(costs)
        if known.lane is not None and mode == "hit" and wait == 0 and not self._ban:
            return self._ask_lane(asked, known, known.lane, keys, packed, ticket)
        holder = asked.holder
        ban = b"" if mode == "peek" else self._ban
        periods = known.periods(self._clock.now) if known.quotas else b""
        asks = b"take" if most else mode
        words = (known.packed, packed, asks, str(wait), ban, holder, periods, str(most))
        asked_at = time.monotonic()

        def read(reply: list[int]) -> Decision | None:
            self._heard(keys)
            if known.quotas:
                self._clock.hear(reply[1])
                if reply[0] < 0:
                    return None
            if mode == "peek":
                return known.decision(reply, (), costs, holder)
            if reply[0]:
                return known.decision(reply, keys, None if most else costs, holder)
            decision = self._denied(asked, known, reply, asked_at, ticket)
            return replace(decision, cost=0) if mode == "take" else decision

        def again(decision: Decision | None) -> Command[Decision] | None:
            return None if decision is not None else self._ask(asked, mode, wait, most, ticket)

        script = PEEK if mode == "peek" else DECIDE
        command: Command[Any] = script.run(keys, words, read)
        return replace(
            command,
            then=again if known.quotas else None,
            within=self.within,
            tracked=() if ticket is None else (ticket,),
        )

    def _ask_lane(  # noqa: PLR0917 - what `_ask` knows
        self,
        asked: Asked,
        known: RuleSet,
        lane: Lane,
        keys: tuple[bytes, ...],
        packed: bytes,
        ticket: Ticket | None,
    ) -> Command[Decision]:
        """Return the Command for what is asked most, in short."""
        costs = asked.costs
        asked_at = time.monotonic()

        def read(reply: bytes | list[int]) -> Decision:
            self._heard(keys)
            if isinstance(reply, bytes):
                if (passed := lane.passed(reply)) is not None:
                    return known.told(passed, reply, costs, keys)
                reply = lane.full(reply, costs)
            elif reply[0]:
                return known.decision(reply, keys, costs, b"")
            return self._denied(asked, known, reply, asked_at, ticket)

        words: tuple[Word, ...] = (known.packed, packed, lane.mode)
        if known.split:
            words = (*words, b"0", b"", b"", b"", b"0", *known.split)
        return Command(
            (b"EVALSHA", DECIDE.sha, str(len(keys)), *keys, *words),
            keys,
            read,
            script=DECIDE,
            within=self.within,
            tracked=() if ticket is None else (ticket,),
        )

    def _heard(self, keys: tuple[bytes, ...]) -> None:
        self._here.told = False
        if self._circuits.broken:
            self._circuits.succeeded(keys)

    def _denied(
        self, asked: Asked, known: RuleSet, reply: list[int], at: float, ticket: Ticket | None
    ) -> Decision:
        decision = known.decision(reply, (), asked.costs, b"")
        if self._denials is not None and not known.takes_places:  # which end untold
            wait = decision.retry_after
            self._denials.note(asked, known, reply, wait=wait, at=at, ticket=ticket)
        return decision

    def _known(self, asked: Asked) -> tuple[RuleSet, tuple[bytes, ...]]:
        """Return the rules as the script is told of them, and all of its keys."""
        rules, keys = asked.rules, asked.keys
        if len(keys) == 1:
            if self._own is not None and rules is self._own.rules:
                return self._own, self._own.keys(keys)
            places = (1,) * len(rules)
        else:
            distinct = tuple(dict.fromkeys(keys))
            places, keys = tuple(distinct.index(key) + 1 for key in keys), distinct
        known = self._sets.get((rules, places))
        if known is None:
            if len(self._sets) >= _KNOWN_SETS:
                self._sets.clear()
            known = self._sets[rules, places] = RuleSet(rules, places)
        return known, known.keys(keys)

    def _in_waves(self, asked: Asked, mode: Mode) -> Command[Decision]:
        """Return the Command that asks each slot for itself."""
        by_slot: dict[int, list[int]] = {}
        for i, key in enumerate(asked.keys):
            by_slot.setdefault(slot(key), []).append(i)
        names = [rule.name for rule in asked.rules]
        parts: tuple[Command[Any], ...] = tuple(
            replace(self._ask(asked.only(group), mode, 0, 0, None), recover=_as_value)
            for group in by_slot.values()
        )

        def read(said: list[Decision | OctavoError]) -> Decision | _Undone:
            decisions = [each for each in said if isinstance(each, Decision)]
            error = next((each for each in said if not isinstance(each, Decision)), None)
            if error is None and all(decisions):
                return merged(decisions, names)
            charged = [each for each in decisions if each.receipts]
            if charged:
                return _Undone(decisions, charged, error)
            if error is not None:
                raise error
            return merged(decisions, names)

        def follow(said: Decision | _Undone) -> Command[Any] | None:
            if isinstance(said, Decision):
                return None
            back = tuple(self.undo(each) for each in said.charged)

            def told(_: object) -> Decision:
                if said.error is not None:
                    raise said.error
                return merged(said.decisions, names)

            return self._with_policy(Command((), (), told, parts=back), asked, mode)

        command: Command[Any] = Command((), (), read, parts=parts, then=follow)
        return self._with_policy(replace(command, within=self.within), asked, mode)

    def _without_server(self, asked: Asked, mode: Mode, wait: int, most: int) -> Decision:
        if self._on_error == "local":
            subjects = [key.decode() for key in asked.keys]
            subjects *= len(asked.rules) // len(subjects)
            return self._here.local.decide(
                list(zip(asked.rules, subjects, asked.costs, strict=True)),
                charge=mode != "peek",
                wait_us=None if wait < 0 else wait,
                up_to=most if mode == "take" else None,
            )
        rule = min(asked.rules, key=lambda rule: rule.limit)
        passes = self._on_error == "open"
        return Decision(
            passes,
            rule.limit,
            rule.limit if passes else 0,
            0.0 if passes else 1.0,
            0.0,
            degraded=True,
            cost=max(asked.costs) if mode != "take" else most * passes,
        )


class _Undone(NamedTuple):
    """What several slots have said of a call that is not to pass, although some have charged it."""

    decisions: list[Decision]
    charged: list[Decision]
    error: OctavoError | None


class _Here:
    """What limiters of one name know while there is no server.

    Attributes:
        local: decides instead.
        told: whether it was said that the server is out of reach.
    """

    def __init__(self) -> None:
        self.local = LocalLimiter()
        self.told = False


class _Clock:
    """About what the server's clock says, for the periods of quotas."""

    def __init__(self) -> None:
        self._ahead = 0

    @property
    def now(self) -> int:
        """Microseconds since 1970."""
        return time.time_ns() // 1000 + self._ahead

    def hear(self, now: int) -> None:
        """Take note of what it says now."""
        self._ahead = now - time.time_ns() // 1000


def by_name(costs: Mapping[Any, int]) -> dict[Any, int]:
    """Return costs by the names of limits."""
    return {key.name if isinstance(key, Rule) else key: units for key, units in costs.items()}


def _used(receipt: Receipt, actual: Cost | None) -> tuple[int, ...]:
    """Return how many units of each rule were used in the end; None is none, and no place."""
    rules, charged = receipt.rules.rules, receipt.costs
    if actual is None:
        return (0,) * len(rules)
    if isinstance(actual, Mapping):
        named = by_name(actual)
    else:
        counted = zip(rules, charged, strict=True)
        if actual and len({n for rule, n in counted if n and rule.algorithm != "concurrency"}) > 1:
            raise ValueError(f"actual must be by name, as charged was {charged}, not {actual!r}")
        named = dict.fromkeys((rule.name for rule in rules), actual)
    if unknown := named.keys() - {rule.name for rule in rules}:
        raise ValueError(f"actual names {sorted(unknown)!r}, which were not charged")
    return tuple(
        units
        if rule.algorithm == "concurrency" or not units  # not charged: it is a shadow
        else whole("actual", named.get(rule.name, units), 0, MOST_COST)
        for rule, units in zip(rules, charged, strict=True)
    )


def _put_back(lot: Lot, charged: tuple[int, ...], used: tuple[int, ...]) -> tuple[int, ...]:
    """Put back into a lot what was used of no rule; return what is charged without that."""
    back = min((max(c - u, 0) for c, u in zip(charged, used, strict=True) if c), default=0)
    if not lot.put_back(back):
        return charged
    return tuple(units and units - back for units in charged)


def _as_value(error: OctavoError) -> Any:
    return error


def _left(error: OctavoError) -> bool:
    log.info("octavo could not give back what was charged, which ends by itself: %s", error)
    return False
