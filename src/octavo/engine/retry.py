"""What to do about a command that did not get its reply. Nothing here does I/O.

Three things may be sent again: what never left, what is idempotent, and what the server refused
before executing. Everything else ends in an error that says what is known about its outcome.
"""

from __future__ import annotations

import random
import re
import time
from typing import TYPE_CHECKING, Any, Self

from octavo import errors

if TYPE_CHECKING:
    from octavo.engine.command import Command

FIRST_DELAY = 0.005
LONGEST_DELAY = 0.25
LEAST_TRY = 0.01
"""Seconds without which another try would only hide the reason of the last one."""


class ReplyError(Exception):
    """An error reply, as the parser hands it over: a value until someone looks at it."""


class Lost(Exception):
    """A connection failed under a command.

    Attributes:
        sent: whether the server may have got the whole command.
        late: whether the connection was given up because the time was over.
    """

    def __init__(self, cause: BaseException | str, *, sent: bool, late: bool = False) -> None:
        super().__init__(str(cause) or type(cause).__name__)
        self.sent = sent
        self.late = late

    def untied(self) -> Self:
        """Return it without its traceback, for a variable: it is in the frames that it names.

        Until such a cycle is found, all that the frames hold stays; and what users drop is to go.
        """
        return self.with_traceback(None)


# Refused before executing. A script may have read before its first write was refused, but no
# write of it took place: READONLY and the others are properties of the node, not of the key.
_COME_BACK = {"TRYAGAIN", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "READONLY", "BUSY"}
_NODE_CHANGED = {"CLUSTERDOWN", "MASTERDOWN", "READONLY"}

_IN_SCRIPT = re.compile(r" script: (?:[0-9a-f]{40}, )?on @user_script:.*")

_BY_CODE: dict[str, type[errors.OctavoError]] = {
    "WRONGTYPE": errors.WrongType,
    "OOM": errors.OutOfMemory,
    "MISCONF": errors.WriteRefused,
    "NOREPLICAS": errors.WriteRefused,
    "NOAUTH": errors.AccessDenied,
    "WRONGPASS": errors.AccessDenied,
    "NOPERM": errors.AccessDenied,
    **{kind.refusal: kind for kind in errors.OctavoError.__subclasses__() if kind.refusal},
    **dict.fromkeys(_COME_BACK, errors.Unavailable),
}


def comes_back(error: ReplyError) -> bool:
    """Whether the node refused to execute, for a reason that passes."""
    return str(error).partition(" ")[0] in _COME_BACK


def first_key(keys: tuple[bytes, ...]) -> str | None:
    """Return the key that an error names."""
    return keys[0].decode(errors="replace") if keys else None


def complete(error: errors.OctavoError, name: str, keys: tuple[bytes, ...]) -> None:
    """Name the operation and the key in an error that was raised without knowing them."""
    if error.operation is None:
        error.operation, error.key = name, first_key(keys)


def follow(name: str, command: Command[Any], value: Any) -> Command[Any] | None:
    """Return a command's follow-up, given its result."""
    assert command.then is not None  # noqa: S101 - for checkers
    try:
        return command.then(value)
    except errors.OctavoError as error:
        complete(error, name, command.keys)
        raise


class Attempt:
    """One operation's way to a server: made when its first try fails.

    `refused` and `lost` either return, and then say how to try again, or raise the error that
    the caller gets.

    Attributes:
        delay: seconds to wait before the next try.
        refresh: whether to discover the servers anew first.
        drop: whether to drop every connection to the node that answered.
        sent: whether the server may have got the command on some try.
        asked: where the next try goes, with ASKING before it: `"host:port"`.
        moved: what a MOVED said: `"slot host:port"`.
        pinned: whether it must not be sent again after a lost connection.
        plain: whether a script is to be sent in a form that cannot meet NOSCRIPT.
        reason: why the last try failed.
    """

    __slots__ = (
        "asked", "deadline", "delay", "drop", "idempotent", "keys", "moved", "name", "pinned",
        "plain", "reason", "refresh", "sent", "tries",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        keys: tuple[bytes, ...],
        *,
        idempotent: bool,
        deadline: float,
        pinned: bool = False,
    ) -> None:
        self.name = name
        self.keys = keys
        self.idempotent = idempotent
        self.deadline = deadline
        self.pinned = pinned
        self.tries = 0
        self.reason = ""
        self.sent = False
        self.plain = False
        self.delay = 0.0
        self.refresh = False
        self.drop = False
        self.asked: str | None = None
        self.moved: str | None = None

    @classmethod
    def of(cls, name: str, command: Command[Any], deadline: float) -> Attempt:
        """Begin with a command."""
        pinned = command.at is not None
        return cls(
            name, command.keys, idempotent=command.idempotent, deadline=deadline, pinned=pinned
        )

    @property
    def remaining(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.monotonic()

    @property
    def _over(self) -> bool:
        return self.remaining <= self.delay + LEAST_TRY

    def refused(self, error: ReplyError) -> None:
        """Learn from an error reply how to try again.

        Raises:
            OctavoError: it is final, or the time is over.
        """
        text = str(error)
        code, _, rest = text.partition(" ")
        self.tries += 1
        self.reason = text
        if code in ("MOVED", "ASK", "NOSCRIPT"):
            # One redirect is at once; a ring of them waits its turn.
            self._again(at_once=self.tries < 3)
            if code == "MOVED":
                self.moved = rest
                self.refresh = self.tries > 1
            elif code == "ASK":
                self.asked = rest.partition(" ")[2]
            else:
                self.plain = True
        elif comes_back(error):
            self._again()
            self.refresh = code in _NODE_CHANGED
            self.drop = code == "READONLY"
        else:
            raise self.error(text) from error
        if self._over:
            raise self.error(text, otherwise=errors.Unavailable) from error

    def lost(self, lost: Lost) -> None:
        """Learn from a lost connection how to try again.

        Raises:
            ConnectionLost: another try could act twice, or the time is over.
        """
        self.tries += 1
        before, self.reason = self.reason, str(lost)
        self.sent |= lost.sent
        self._again()
        again = (self.idempotent or not lost.sent) and not self.pinned
        if again and not self._over:
            return
        late = lost.late or self._over
        # That the time is over says less than what took it.
        why = f"{lost}; before that: {before}" if lost.late and before else str(lost)
        raise (errors.DeadlineExceeded if late else errors.ConnectionLost)(
            why,
            outcome="unknown" if self.sent else "not_sent",
            operation=self.name,
            key=first_key(self.keys),
        ) from lost

    def error(
        self, text: str, *, otherwise: type[errors.ServerError] = errors.ServerError
    ) -> errors.OctavoError:
        """Translate an error reply."""
        text = _IN_SCRIPT.sub("", text)
        kind = _BY_CODE.get(text.partition(" ")[0], otherwise)
        if text.startswith("ERR ACL failure"):
            kind = errors.AccessDenied
        if kind is errors.WrongType and len(self.keys) > 1:
            text += " (one of " + ", ".join(key.decode(errors="replace") for key in self.keys) + ")"
        if not issubclass(kind, errors.ServerError):
            text = text.partition(" ")[2]
        return kind(text, operation=self.name, key=first_key(self.keys))

    def _again(self, *, at_once: bool = False) -> None:
        longest = min(LONGEST_DELAY, FIRST_DELAY * 2**self.tries)
        self.delay = 0.0 if at_once else random.uniform(longest / 2, longest)  # noqa: S311 - jitter
        self.refresh = False
        self.drop = False
        self.asked = None
        self.moved = None
