"""`Limiter`: who may go ahead, under several limits at once."""

from __future__ import annotations

import logging
import os
import time
from binascii import hexlify
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from msgspec.structs import replace

from octavo.engine.breaker import Circuits
from octavo.engine.checks import Seconds, millis, whole
from octavo.engine.command import Command, Job, M, Sleep, answer, flow, operation
from octavo.engine.keys import slot
from octavo.errors import ConnectionLost, OutOfMemory, Unavailable, WriteRefused
from octavo.ratelimit.decision import Decision, refusal
from octavo.ratelimit.layout import Layout, Subject, own_key, text_of
from octavo.ratelimit.limited import Limited
from octavo.ratelimit.limits import Ban, Concurrency, Rule
from octavo.ratelimit.local import LocalLimiter
from octavo.ratelimit.rules import RuleSet, merged, pack_ban, pack_changes, pack_costs
from octavo.ratelimit.scripts import BAN, DECIDE, PEEK, RENEW, SETTLE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from octavo.engine.command import Engine, Word
    from octavo.errors import OctavoError
    from octavo.ratelimit.decision import Receipt
    from octavo.ratelimit.limited import OnLimit, RefundOn

log = logging.getLogger("octavo")

# Any, because a mapping is not one of limits to a checker if it is one of a kind of them.
Cost = int | Mapping[Any, int]
Subjects = Mapping[Any, Subject]
OnError = Literal["raise", "open", "closed", "local"]
Mode = Literal["hit", "peek", "take"]

NO_ANSWER = (ConnectionLost, Unavailable, OutOfMemory, WriteRefused)
"""The errors that `on_error` decides about."""

_NOTHING: Command[bool] = answer(value=False)
_MOST_COST = 2**40 - 1
_MOST_PLACES = 1000
_MOST_RULES = 64
_KNOWN_SETS = 1000


class Asked(NamedTuple):
    """What a call asks for: rules, of whom, and for how much."""

    rules: tuple[Rule, ...]
    subjects: tuple[Subject, ...]
    costs: tuple[int, ...]


class Limiter(Job[M]):
    """Decides whether calls may go ahead: either every limit has room and is charged, or none is.

    Each operation is one round trip. On a cluster that holds for subjects in one slot (`tag=`,
    `partition=`); a `check` over more sends one script per slot at the same time, and gives back,
    in a second round trip, what was charged by some and denied by others.

    Args:
        engine: carries its commands.
        prefix: of its keys.
        name: the limiter's; limits are told apart by it and their own names.
        rules: what `hit` and its like hold a subject to.
        on_error: what is said when there is no answer, which may mean that it was charged: raise
            the error, let all pass ("open"), deny all ("closed"), or decide by what this process
            has seen ("local").
        deadline: seconds or a timedelta after which there is no answer; None for the client's.
        ban: keeps out, for some time, subjects that were denied too often.
        partition: gives the hash tag of a subject, such as the name of a tenant.
        tag: the hash tag of all subjects.
    """

    def __init__(
        self,
        engine: Engine,
        prefix: str,
        name: str,
        *rules: Rule,
        on_error: OnError = "raise",
        deadline: Seconds | None = 0.1,
        ban: Ban | None = None,
        partition: Callable[[str], str] | None = None,
        tag: str | None = None,
    ) -> None:
        super().__init__(engine)
        self._engine = engine
        self._layout = Layout(prefix, name, tag, partition)
        self._rules = _check_rules(rules)
        if on_error not in get_args(OnError):
            raise ValueError(f"on_error must be one of {get_args(OnError)}, not {on_error!r}")
        self._on_error = on_error
        self._within = None if deadline is None else millis("deadline", deadline) / 1000
        if ban is not None and not isinstance(ban, Ban):
            raise TypeError(f"ban must be a Ban, not {ban!r}")
        self._ban = b"" if ban is None else pack_ban(ban)
        self._set = RuleSet(rules, (1,) * len(rules)) if rules else None
        self._sets: dict[tuple[tuple[Rule, ...], tuple[int, ...]], RuleSet] = {}
        self._circuits: Circuits = self._common.shared("limits", lambda: Circuits(self._common))
        self._name = name
        self._here: _Here = self._common.shared(f"limits of {name}", _Here)
        self._clock: _Clock = self._common.shared("limits' clock", _Clock)
        cluster = self._common.topology.target.kind == "cluster"
        self._scattered = cluster and tag is None

    # Questions

    @operation
    def hit(self, subject: Subject, cost: Cost = 1) -> Command[Decision]:
        """Charge a call to every limit if all of them have room for it, else to none.

        Args:
            subject: who calls: a text, or an address; of IPv6 its /64 is counted.
            cost: units; or units by limit or its name, 1 for those not named.
        """
        return self._deciding(self._asked(subject, cost), "hit", 0)

    @operation
    def check(self, subjects: Subjects, cost: Cost = 1) -> Command[Decision]:
        """Charge a call to several limits, each of a subject of its own, or to none.

        Args:
            subjects: who is counted, by limits or names of limits. They need not be the limiter's.
            cost: as for `hit`.
        """
        return self._deciding(self._asked_of(subjects, cost), "hit", 0)

    @operation
    def peek(self, subject: Subject | Subjects, cost: Cost = 1) -> Command[Decision]:
        """Return what `hit` or `check` would say, and charge nothing."""
        if isinstance(subject, Mapping):
            return self._deciding(self._asked_of(subject, cost), "peek", 0)
        return self._deciding(self._asked(subject, cost), "peek", 0)

    @operation
    def reserve(
        self, subject: Subject, cost: Cost = 1, wait: Seconds | None = None
    ) -> Command[Decision]:
        """Charge a call for the first moment at which it may go ahead: `delay` seconds from now.

        Who comes later comes behind it.

        Args:
            subject: as for `hit`.
            cost: as for `hit`.
            wait: the longest delay, in seconds or a timedelta; None is any.
        """
        return self._deciding(self._asked(subject, cost), "hit", self._wait(wait))

    @operation
    def take_up_to(self, subject: Subject, n: int) -> Command[Decision]:
        """Charge as many units as there are, up to `n`: the decision's `cost`, 0 if denied."""
        asked = self._asked(subject, whole("n", n, 1, _MOST_COST))
        self._without_places("take_up_to")
        return self._deciding(asked, "take", 0)

    @flow
    async def acquire(
        self, subject: Subject, cost: Cost = 1, wait: Seconds | None = None
    ) -> Decision:
        """Reserve, and return when it is time. One round trip, first come, first served.

        Interrupted or cancelled while it waits, it gives back what it reserved.

        Raises:
            RateLimited: it would not be time within `wait` seconds, or never.
        """
        asked = self._asked(subject, cost)
        decision = await self._deciding(asked, "hit", self._wait(wait))
        if not decision:
            raise refusal(subject, decision)
        if decision.delay > 0:
            try:
                await Sleep(decision.delay)
            except BaseException:
                await self._taking_back(decision)
                raise
        return decision

    def limit(
        self,
        subject: Subject,
        *,
        cost: Cost | Callable[..., Cost] = 1,
        wait: Seconds | None = 0,
        on_limit: OnLimit = "raise",
        refund_on: RefundOn = (),
        exempt: Callable[..., bool] | None = None,
    ) -> Limited[M, Any]:
        """Return what runs a block, or a function, only within the limits. See `Limited`."""
        return Limited(
            self._engine,
            self,
            subject,
            cost=cost,
            wait=wait,
            on_limit=on_limit,
            refund_on=refund_on,
            exempt=exempt,
        )

    # Afterwards

    @operation
    def refund(self, decision: Decision) -> Command[bool]:
        """Give back what a call was charged, as far as time has not done so already.

        Returns:
            Whether it was asked for the first time.
        """
        return self._settling(_of(decision), None)

    @operation
    def settle(self, decision: Decision, actual: Cost) -> Command[bool]:
        """Have a call charged what it has used: refund the rest, or charge more in any case.

        Args:
            decision: of a call that was allowed.
            actual: units used, 0 for none; or by name, for those that differ from what was charged.

        Returns:
            Whether it was asked for the first time.
        """
        if not isinstance(actual, Mapping):
            whole("actual", actual, 0, _MOST_COST)
        return self._settling(_of(decision), actual)

    @operation
    def release(self, decision: Decision) -> Command[bool]:
        """Give back the places of every `Concurrency`; return whether any were still held."""
        parts = [
            Command(
                (b"ZREM", key, *(b"%b:%d" % (receipt.id, i + 1) for i in range(cost))),
                (key,),
                int,
                idempotent=True,
            )
            for receipt, _, key, cost in _places(_of(decision))
        ]
        return self._together(parts)

    @operation
    def renew(self, decision: Decision) -> Command[bool]:
        """Have the places of every `Concurrency` last for another lease; return whether they do."""
        parts = [
            RENEW((key,), (rule.numbers()[1], receipt.id, cost), int)
            for receipt, rule, key, cost in _places(_of(decision))
        ]
        return self._together(parts)

    @operation
    def reset(self, subject: Subject) -> Command[bool]:
        """Forget what a subject has used, and that it is banned; return whether there was any."""
        key = self._layout.key(subject)
        own = [name for rule in self._rules.values() if (name := own_key(key, rule)) is not None]
        return Command(
            (b"UNLINK", key, *own), (key, *own), bool, idempotent=True, within=self._within
        )

    @operation
    def ban(self, subject: Subject, lasts: Seconds = 3600) -> Command[bool]:
        """Deny whatever a subject asks for, for some time; return whether it was banned already."""
        key = self._layout.key(subject)
        return BAN((key,), (millis("lasts", lasts) * 1000,), bool)

    @operation
    def unban(self, subject: Subject) -> Command[bool]:
        """End a subject's ban, and forget earlier ones; return whether it was banned."""
        return BAN((self._layout.key(subject),), (0,), bool)

    # What is asked

    def _asked(self, subject: Subject, cost: Cost) -> Asked:
        if self._set is None:
            raise ValueError("this limiter has no limits of its own: use check()")
        rules = self._set.rules
        return Asked(rules, (subject,), self._costs(rules, cost))

    def _asked_of(self, subjects: Subjects, cost: Cost) -> Asked:
        if not isinstance(subjects, Mapping):
            raise TypeError(f"subjects must be a mapping of limits, not {subjects!r}")
        rules = tuple(self._rule(key) for key in subjects)
        if not rules:
            raise ValueError("subjects must name at least one limit")
        _check_rules(rules)
        return Asked(rules, tuple(subjects.values()), self._costs(rules, cost))

    def _rule(self, key: object) -> Rule:
        if isinstance(key, Rule):
            return key
        if not isinstance(key, str):
            raise TypeError(f"subjects must be by limits or their names, not by {key!r}")
        if key not in self._rules:
            raise ValueError(f"subjects names {key!r}, of which this limiter has no limit")
        return self._rules[key]

    def _costs(self, rules: tuple[Rule, ...], cost: Cost) -> tuple[int, ...]:
        if type(cost) is int and 0 < cost <= _MOST_COST:
            costs = (cost,) * len(rules)
        elif isinstance(cost, Mapping):
            named = _by_name(cost)
            if unknown := named.keys() - {rule.name for rule in rules}:
                raise ValueError(f"cost names {sorted(unknown)!r}, which are no limits here")
            costs = tuple(whole("cost", named.get(rule.name, 1), 1, _MOST_COST) for rule in rules)
        else:
            costs = (whole("cost", cost, 1, _MOST_COST),) * len(rules)
        for rule, units in zip(rules, costs, strict=True):
            if units > _MOST_PLACES and rule.algorithm == "concurrency":
                raise ValueError(f"cost must be at most {_MOST_PLACES} of a Concurrency")
        return costs

    def _wait(self, wait: Seconds | None) -> int:
        self._without_places("reserve")
        return -1 if wait is None else millis("wait", wait, least=0) * 1000

    def _without_places(self, what: str) -> None:
        if self._set is not None and self._set.takes_places:
            raise ValueError(
                f"{what} needs limits that time alone refills, which a Concurrency is not; "
                "a semaphore waits for places"
            )

    # What is sent

    def _deciding(self, asked: Asked, mode: Mode, wait: int) -> Command[Decision]:
        keys = [self._layout.key(subject) for subject in asked.subjects]
        if self._scattered and len(keys) > 1 and len({slot(key) for key in keys}) > 1:
            return self._in_waves(asked, keys, mode)
        return self._with_policy(self._decide(asked, keys, mode, wait), asked, mode, wait)

    def _with_policy(
        self, command: Command[Decision], asked: Asked, mode: Mode, wait: int
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
            return self._without_server(asked, mode, wait)

        if self._circuits.open(command.all_keys):
            return answer(self._without_server(asked, mode, wait))
        return replace(command, recover=recover)

    def _decide(
        self, asked: Asked, keys: Sequence[bytes], mode: Mode, wait: int
    ) -> Command[Decision]:
        rules, costs = asked.rules, asked.costs
        if len(keys) == 1 and self._set is not None and rules is self._set.rules:
            known, names = self._set, list(keys)
        else:
            names = list(dict.fromkeys(keys))
            known = self._known(rules, tuple(names.index(key) + 1 for key in keys))
        for rule, place in zip(rules, known.places, strict=True):
            if (own := own_key(names[place - 1], rule)) is not None:
                names.append(own)
        told = tuple(names)
        id = hexlify(os.urandom(8)) if known.takes_places else b""  # noqa: A001 - as records have it
        packed = known.ones if costs[0] == 1 and max(costs) == 1 else pack_costs(costs)
        charged = None if mode == "take" else costs

        fast = known.debts and mode == "hit" and wait == 0 and not self._ban

        def read(reply: Any) -> Decision | None:
            self._here.told = False
            if self._circuits.broken:
                self._circuits.succeeded(told)
            if type(reply) is bytes:
                reply = known.of_debts(reply, costs)
            if known.quotas:
                self._clock.hear(reply[1])
                if reply[0] < 0:
                    return None
            decision = known.decision(reply, told, charged, id)
            if mode == "hit":
                return decision
            cost = decision.cost if decision.allowed or mode == "peek" else 0
            receipts = () if mode == "peek" else decision.receipts
            return replace(decision, cost=cost, receipts=receipts)

        def again(decision: Decision | None) -> Command[Decision] | None:
            return None if decision is not None else self._decide(asked, keys, mode, wait)

        words: tuple[Word, ...] = (known.packed, packed, b"debts")
        if not fast:
            ban = b"" if mode == "peek" else self._ban
            periods = known.periods(self._clock.now) if known.quotas else b""
            words = (known.packed, packed, mode, str(wait), ban, id, periods)
        script = PEEK if mode == "peek" else DECIDE
        command: Command[Any] = script.run(told, words, read)
        then = again if known.quotas else None
        return replace(command, then=then, within=self._within)

    def _known(self, rules: tuple[Rule, ...], places: tuple[int, ...]) -> RuleSet:
        known = self._sets.get((rules, places))
        if known is None:
            if len(self._sets) >= _KNOWN_SETS:
                self._sets.clear()
            known = self._sets[rules, places] = RuleSet(rules, places)
        return known

    def _in_waves(self, asked: Asked, keys: list[bytes], mode: Mode) -> Command[Decision]:
        """Return the Command that asks each slot for itself."""
        by_slot: dict[int, list[int]] = {}
        for i, key in enumerate(keys):
            by_slot.setdefault(slot(key), []).append(i)
        parts = tuple(self._part(asked, keys, group, mode) for group in by_slot.values())

        def read(said: list[Decision | OctavoError]) -> Decision | _Undone:
            decisions = [each for each in said if isinstance(each, Decision)]
            error = next((each for each in said if not isinstance(each, Decision)), None)
            if error is None and all(decisions):
                return merged(decisions)
            charged = [each for each in decisions if each.receipts]
            if charged:
                return _Undone(decisions, charged, error)
            if error is not None:
                raise error
            return merged(decisions)

        def follow(said: Decision | _Undone) -> Command[Any] | None:
            if isinstance(said, Decision):
                return None
            back = tuple(
                replace(self._settling(each, None), recover=_left) for each in said.charged
            )

            def told(_: object) -> Decision:
                if said.error is not None:
                    raise said.error
                return merged(said.decisions)

            return self._with_policy(Command((), (), told, parts=back), asked, mode, 0)

        command: Command[Any] = Command((), (), read, parts=parts, then=follow)
        return self._with_policy(replace(command, within=self._within), asked, mode, 0)

    def _part(self, asked: Asked, keys: list[bytes], group: list[int], mode: Mode) -> Command[Any]:
        own = Asked(
            tuple(asked.rules[i] for i in group),
            tuple(asked.subjects[i] for i in group),
            tuple(asked.costs[i] for i in group),
        )
        part: Any = self._decide(own, [keys[i] for i in group], mode, 0)
        return replace(part, recover=_as_value)

    def _taking_back(self, decision: Decision) -> Command[bool]:
        return replace(self._settling(decision, None), recover=_left)

    def _without_server(self, asked: Asked, mode: Mode, wait: int) -> Decision:
        cost = max(asked.costs)
        if self._on_error == "local":
            subjects = [text_of(subject) for subject in asked.subjects]
            subjects *= len(asked.rules) // len(subjects)
            return self._here.local.decide(
                list(zip(asked.rules, subjects, asked.costs, strict=True)),
                charge=mode != "peek",
                wait_us=None if wait < 0 else wait,
                up_to=cost if mode == "take" else None,
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
            cost=cost if passes or mode != "take" else 0,
        )

    def _settling(self, decision: Decision, actual: Cost | None) -> Command[bool]:
        receipts = [receipt for receipt in decision.receipts if not receipt.settled]
        used = [_used(receipt, actual) for receipt in receipts]
        parts: list[Command[Any]] = []
        for receipt, units in zip(receipts, used, strict=True):
            receipt.settled = True
            rules = receipt.rules
            periods = rules.periods(self._clock.now) if rules.quotas else b""
            words = (rules.packed, pack_changes(receipt, units), receipt.id, periods)
            parts.append(SETTLE.once(receipt.keys, words, lambda _: True))
        return self._together(parts)

    def _together(self, parts: list[Command[int]]) -> Command[bool]:
        if len(parts) < 2:
            return replace(parts[0].map(bool), within=self._within) if parts else _NOTHING
        return Command((), (), all, parts=tuple(parts), within=self._within)

    def __repr__(self) -> str:
        rules = ", ".join(map(repr, self._rules.values()))
        return f"<{type(self).__name__} {rules}>"


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


def _check_rules(rules: Sequence[Rule]) -> dict[str, Rule]:
    by_name: dict[str, Rule] = {}
    for rule in rules:
        if not isinstance(rule, Rule):
            raise TypeError(f"limits must be Limit, Concurrency or Quota, not {rule!r}")
        if rule.name in by_name:
            raise ValueError(f"limits must have names of their own, not {rule.name!r} twice")
        by_name[rule.name] = rule
    if len(by_name) > _MOST_RULES:
        raise ValueError(f"limits must be at most {_MOST_RULES}, not {len(by_name)}")
    return by_name


def _of(decision: object) -> Decision:
    if not isinstance(decision, Decision):
        raise TypeError(f"decision must be a Decision, not {decision!r}")
    return decision


def _places(decision: Decision) -> list[tuple[Receipt, Rule, bytes, int]]:
    """Return what tells the places that a call has taken."""
    return [
        (receipt, rule, key, cost)
        for receipt in decision.receipts
        for rule, place, cost in zip(
            receipt.rules.rules, receipt.rules.places, receipt.costs, strict=True
        )
        if cost
        and isinstance(rule, Concurrency)
        and (key := own_key(receipt.keys[place - 1], rule)) is not None
    ]


def _used(receipt: Receipt, actual: Cost | None) -> list[int]:
    """Return how many units of each rule were used in the end; None is none, and no place."""
    rules, charged = receipt.rules.rules, receipt.costs
    if actual is None:
        return [0] * len(rules)
    if not isinstance(actual, Mapping):
        named = dict.fromkeys((rule.name for rule in rules), actual)
    else:
        named = _by_name(actual)
    if unknown := named.keys() - {rule.name for rule in rules}:
        raise ValueError(f"actual names {sorted(unknown)!r}, which were not charged")
    return [
        units
        if rule.algorithm == "concurrency" or not units  # not charged: it is a shadow
        else whole("actual", named.get(rule.name, units), 0, _MOST_COST)
        for rule, units in zip(rules, charged, strict=True)
    ]


def _by_name(costs: Mapping[Any, int]) -> dict[Any, int]:
    return {key.name if isinstance(key, Rule) else key: units for key, units in costs.items()}


def _as_value(error: OctavoError) -> Any:
    return error


def _left(error: OctavoError) -> bool:
    log.info("octavo could not give back what was charged, which ends by itself: %s", error)
    return False
