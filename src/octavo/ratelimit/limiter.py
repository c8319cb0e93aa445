"""`Limiter`: who may go ahead, under several limits at once."""

from __future__ import annotations

import os
from binascii import hexlify
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Never, get_args, overload

from msgspec.structs import replace

from octavo.engine.checks import Seconds, flag, millis, whole
from octavo.engine.command import Command, Job, M, flow, operation
from octavo.ratelimit.ahead import Ahead
from octavo.ratelimit.deciding import Asked, Cost, Decider, OnError, by_name
from octavo.ratelimit.decision import Decision, refusal
from octavo.ratelimit.denials import Denials, changing
from octavo.ratelimit.inspection import forget
from octavo.ratelimit.layout import Layout, Subject, own_key
from octavo.ratelimit.limited import Limited
from octavo.ratelimit.limits import Ban, Concurrency, Rule
from octavo.ratelimit.rules import MOST_COST, RuleSet, pack_ban
from octavo.ratelimit.scripts import BAN, RENEW
from octavo.ratelimit.waiting import Waiting, leave

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from octavo.engine.command import Engine
    from octavo.ratelimit.decision import Receipt
    from octavo.ratelimit.limited import OnLimit, RefundOn

Subjects = Mapping[Any, Subject]
_MOST_PLACES = 1000
_MOST_RULES = 64


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
        deny_cache: remember in this process who was denied twice running, and deny the same call
            without a round trip until it would pass. The server tells of every change before that.
        prefetch: units to take at once, which `hit` then hands out in this process without a round
            trip; 0 for none. In any window, all processes together admit at most what the limits
            promise for one that is longer by `prefetch_for`, and at most `prefetch` per process
            more than for the window itself. Times in such a decision are as of when the units
            were taken. What nobody has used by then is given back when the process next asks for
            more, or when the client closes: until then nobody else has it.
        prefetch_for: seconds or a timedelta for which they are handed out.
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
        deny_cache: bool = False,
        prefetch: int = 0,
        prefetch_for: Seconds = 1.0,
        partition: Callable[[str], str] | None = None,
        tag: str | None = None,
    ) -> None:
        super().__init__(engine)
        self._engine = engine
        self._name = name
        self._layout = Layout(prefix, name, tag, partition)
        self._rules = _check_rules(rules)
        self._set = RuleSet(rules, (1,) * len(rules)) if rules else None
        if on_error not in get_args(OnError):
            raise ValueError(f"on_error must be one of {get_args(OnError)}, not {on_error!r}")
        if ban is not None and not isinstance(ban, Ban):
            raise TypeError(f"ban must be a Ban, not {ban!r}")
        common = self._common
        self._denials: Denials | None = None
        if flag("deny_cache", deny_cache):
            self._denials = common.shared("denials of limits", lambda: Denials(common, prefix))
        self._decider = Decider(
            common,
            name,
            on_error=on_error,
            within=None if deadline is None else millis("deadline", deadline) / 1000,
            ban=b"" if ban is None else pack_ban(ban),
            denials=self._denials,
            scattered=common.topology.target.kind == "cluster" and tag is None,
            own=self._set,
        )
        self._waiting = Waiting(common, self._decider)
        self._ahead: Ahead | None = None
        if whole("prefetch", prefetch, 0, MOST_COST):
            self._without_places("prefetch")
            if ban is not None:
                raise ValueError("prefetch and ban exclude each other: a ban has to be heard of")
            if any(rule.shadow for rule in rules):
                raise ValueError("prefetch and shadow limits exclude each other: all have to fit")
            held = millis("prefetch_for", prefetch_for) / 1000
            self._ahead = Ahead(common, name, self._decider, prefetch, held)

    @property
    def takes_places(self) -> bool:
        """Whether one of the limits is a `Concurrency`."""
        return self._set is not None and self._set.takes_places

    # Questions

    @operation
    def hit(self, subject: Subject, cost: Cost = 1) -> Command[Decision]:
        """Charge a call to every limit if all of them have room for it, else to none.

        Args:
            subject: who calls: a text, or an address; of IPv6 its /64 is counted.
            cost: units; or units by limit or its name, 1 for those not named.
        """
        if self._denials is not None and type(cost) is int:
            denied = self._denials.of_one(self._layout.key(subject), self._set, cost)
            if denied is not None:
                return denied
        asked = self._asked(subject, cost)
        if self._ahead is not None and not isinstance(cost, Mapping):
            return self._ahead.hit(asked)
        return self._decider.decide(asked)

    @operation
    def check(self, subjects: Subjects, cost: Cost = 1) -> Command[Decision]:
        """Charge a call to several limits, each of a subject of its own, or to none.

        Args:
            subjects: who is counted, by limits or names of limits. They need not be the limiter's.
            cost: as for `hit`.
        """
        return self._decider.decide(self._asked_of(subjects, cost))

    @operation
    def peek(self, subject: Subject | Subjects, cost: Cost = 1) -> Command[Decision]:
        """Return what `hit` or `check` would say, and charge nothing."""
        if isinstance(subject, Mapping):
            return self._decider.decide(self._asked_of(subject, cost, charged=False), "peek")
        return self._decider.decide(self._asked(subject, cost, charged=False), "peek")

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
        self._without_places("reserve")
        return self._decider.decide(self._asked(subject, cost), wait=_micros(wait))

    @operation
    def take_up_to(self, subject: Subject, n: int) -> Command[Decision]:
        """Charge as many units as there are, up to `n`: the decision's `cost`, 0 if denied."""
        self._without_places("take_up_to")
        asked = self._asked(subject, 1)
        return self._decider.decide(asked, "take", most=whole("n", n, 1, MOST_COST))

    @flow
    async def acquire(
        self, subject: Subject, cost: Cost = 1, wait: Seconds | None = None
    ) -> Decision:
        """Reserve, and return when it is time. One round trip, first come, first served.

        Interrupted or cancelled while it waits, it gives back what it reserved. With a
        `Concurrency`, whose places time alone does not free, it asks again whenever one may be
        free: one caller of each process does, the first who came. Among processes there is no
        order; a semaphore has one.

        Raises:
            RateLimited: it would not be time within `wait` seconds, or never.
        """
        asked, wait_us = self._asked(subject, cost), _micros(wait)
        waits_for = self._waiting.place if self.takes_places else self._waiting.turn
        decision = await waits_for(asked, wait_us)
        if not decision:
            raise refusal(subject, decision)
        return decision

    if TYPE_CHECKING:

        @overload
        def limit(
            self,
            subject: Subject,
            *,
            cost: Cost | Callable[..., Cost] = ...,
            wait: Seconds | None = ...,
            on_limit: Literal["raise"] = ...,
            refund_on: RefundOn = ...,
            exempt: Callable[..., bool] | None = ...,
        ) -> Limited[M, Never]: ...
        @overload
        def limit(
            self,
            subject: Subject,
            *,
            cost: Cost | Callable[..., Cost] = ...,
            wait: Seconds | None = ...,
            on_limit: Literal["skip"],
            refund_on: RefundOn = ...,
            exempt: Callable[..., bool] | None = ...,
        ) -> Limited[M, None]: ...
        @overload
        def limit(
            self,
            subject: Subject,
            *,
            cost: Cost | Callable[..., Cost] = ...,
            wait: Seconds | None = ...,
            on_limit: OnLimit,
            refund_on: RefundOn = ...,
            exempt: Callable[..., bool] | None = ...,
        ) -> Limited[M, Any]: ...

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
        return self._decider.settle(_of(decision), None)

    @operation
    def settle(self, decision: Decision, actual: Cost) -> Command[bool]:
        """Have a call charged what it has used: refund the rest, or charge more in any case.

        Args:
            decision: of a call that was allowed.
            actual: units used, 0 for none; or by name, for those that differ from what was charged,
                which it has to be if limits were charged differently.

        Returns:
            Whether it was asked for the first time.
        """
        if not isinstance(actual, Mapping):
            whole("actual", actual, 0, MOST_COST)
        return self._decider.settle(_of(decision), actual)

    @operation
    def release(self, decision: Decision) -> Command[bool]:
        """Give back the places of every `Concurrency`; return whether any were still held."""
        places = _places(_of(decision))
        parts = [leave(key, receipt.holder, cost) for receipt, _, key, cost in places]
        return self._decider.together(parts)

    @operation
    def renew(self, decision: Decision) -> Command[bool]:
        """Have the places of every `Concurrency` last for another lease; return whether they do."""
        parts = [
            RENEW((key,), (rule.numbers()[1], receipt.holder, cost), int)
            for receipt, rule, key, cost in _places(_of(decision))
        ]
        return self._decider.together(parts)

    @operation
    def reset(self, subject: Subject) -> Command[bool]:
        """Forget what a subject has used, and that it is banned; return whether there was any.

        A second round trip is needed if there is a log, or places of a `Concurrency`, of a limit
        that is not the limiter's.
        """
        key = self._layout.key(subject)
        return self._changing(key, forget(key, self._rules.values()))

    @operation
    def ban(self, subject: Subject, lasts: Seconds = 3600) -> Command[bool]:
        """Deny whatever a subject asks for, for some time; return whether it was banned already."""
        return self._banning(subject, millis("lasts", lasts) * 1000)

    @operation
    def unban(self, subject: Subject) -> Command[bool]:
        """End a subject's ban, and forget earlier ones; return whether it was banned."""
        return self._banning(subject, 0)

    def _banning(self, subject: Subject, micros: int) -> Command[bool]:
        key = self._layout.key(subject)
        return self._changing(key, BAN((key,), (micros,), bool))

    def _changing(self, key: bytes, command: Command[bool]) -> Command[bool]:
        """Return a Command that changes a subject's key, and what this process has of it."""
        if self._ahead is not None and (back := self._ahead.close(key)) is not None:
            command = self._decider.behind([back], command)
        command = changing(self._common.tracker, key, command)
        return replace(command, within=self._decider.within)

    # What is asked

    def _asked(self, subject: Subject, cost: Cost, *, charged: bool = True) -> Asked:
        if self._set is None:
            raise ValueError("this limiter has no limits of its own: use check()")
        rules = self._set.rules
        key = self._layout.key(subject)
        holder = _holder() if charged and self._set.takes_places else b""
        return Asked(rules, (key,), self._costs(rules, cost), holder)

    def _asked_of(self, subjects: Subjects, cost: Cost, *, charged: bool = True) -> Asked:
        if not isinstance(subjects, Mapping):
            raise TypeError(f"subjects must be a mapping of limits, not {subjects!r}")
        rules = tuple(self._rule(key) for key in subjects)
        if not rules:
            raise ValueError("subjects must name at least one limit")
        _check_rules(rules)
        keys = tuple(map(self._layout.key, subjects.values()))
        if len(set(keys)) == 1:
            keys = keys[:1]
        takes_places = charged and any(rule.algorithm == "concurrency" for rule in rules)
        return Asked(rules, keys, self._costs(rules, cost), _holder() if takes_places else b"")

    def _rule(self, key: object) -> Rule:
        if isinstance(key, Rule):
            return key
        if not isinstance(key, str):
            raise TypeError(f"subjects must be by limits or their names, not by {key!r}")
        if key not in self._rules:
            raise ValueError(f"subjects names {key!r}, of which this limiter has no limit")
        return self._rules[key]

    def _costs(self, rules: tuple[Rule, ...], cost: Cost) -> tuple[int, ...]:
        if type(cost) is int and 0 < cost <= _MOST_PLACES:
            return (cost,) * len(rules)
        if isinstance(cost, Mapping):
            named = by_name(cost)
            if unknown := named.keys() - {rule.name for rule in rules}:
                raise ValueError(f"cost names {sorted(unknown)!r}, which are no limits here")
            costs = tuple(whole("cost", named.get(rule.name, 1), 1, MOST_COST) for rule in rules)
        else:
            costs = (whole("cost", cost, 1, MOST_COST),) * len(rules)
        for rule, units in zip(rules, costs, strict=True):
            if units > _MOST_PLACES and rule.algorithm == "concurrency":
                raise ValueError(f"cost must be at most {_MOST_PLACES} of a Concurrency")
        return costs

    def _without_places(self, what: str) -> None:
        if self.takes_places:
            raise ValueError(
                f"{what} needs limits that time alone refills, which a Concurrency is not; "
                "acquire() waits for places"
            )

    def __repr__(self) -> str:
        rules = ", ".join(map(repr, self._rules.values()))
        return f"<{type(self).__name__} {self._name!r}: {rules}>"


def _check_rules(rules: Sequence[Rule]) -> dict[str, Rule]:
    named: dict[str, Rule] = {}
    for rule in rules:
        if not isinstance(rule, Rule):
            raise TypeError(f"limits must be Limit, Concurrency or Quota, not {rule!r}")
        if rule.name in named:
            raise ValueError(
                f"limits must have names of their own, not {rule.name!r} twice: give one a name="
            )
        named[rule.name] = rule
    if len(named) > _MOST_RULES:
        raise ValueError(f"limits must be at most {_MOST_RULES}, not {len(named)}")
    return named


def _holder() -> bytes:
    """Return a name for the places that a call takes."""
    return hexlify(os.urandom(8))


def _micros(wait: Seconds | None) -> int:
    return -1 if wait is None else millis("wait", wait, least=0) * 1000


def _of(decision: object) -> Decision:
    if not isinstance(decision, Decision):
        raise TypeError(f"decision must be a Decision, not {decision!r}")
    return decision


def _places(decision: Decision) -> list[tuple[Receipt, Rule, bytes, int]]:
    """Return what tells the places that a call has taken."""
    return [
        (receipt, rule, own_key(receipt.keys[place - 1], rule), cost)
        for receipt in decision.receipts
        for rule, place, cost in zip(
            receipt.rules.rules, receipt.rules.places, receipt.costs, strict=True
        )
        if cost and isinstance(rule, Concurrency)
    ]
