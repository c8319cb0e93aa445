"""Every error octavo raises on its own account, as one tree.

    OctavoError
    ├── ConnectionLost              no reply; .outcome says whether the server may have acted
    │   └── DeadlineExceeded        ... because the operation's time was up (also a TimeoutError)
    ├── ServerError                 the server answered with an error; .code is its first word
    │   ├── WrongType               the key holds another kind of value
    │   ├── OutOfMemory             the server is at maxmemory and may not evict
    │   ├── WriteRefused            the server cannot persist (full disk) or lacks replicas
    │   ├── AccessDenied            wrong credentials, or the user may not do this
    │   └── Unavailable             still loading, failing over or moving when time was up
    ├── ConfigMismatch              the object exists with another configuration
    ├── PrecisionLost               an increment too small, or a sum too large, to be exact
    ├── DecodeError                 stored bytes that the codec cannot read
    ├── FactoryTimeout              a cache's factory took too long (also a TimeoutError)
    ├── LockTimeout                 not granted within `wait` (also a TimeoutError)
    ├── LockLost                    a lease is not, or may not be, its holder's any more
    ├── NotReplicated               fewer replicas than `sync=` have the grant; it was given back
    ├── WouldDeadlock               waiting for what the caller itself holds
    ├── StaleFence                  a newer fence has been seen
    ├── RateLimited                 over a limit, with no grant within `wait`
    ├── SubmissionRefused           a leaderboard's rules, or a ban, keep a score out
    ├── SeasonClosed                a leaderboard's season takes no more scores, or none yet
    ├── SeasonNotFound              a leaderboard's season that nobody has opened
    ├── BrokenBarrier               a party gave up, or somebody called abort()
    ├── EmbeddedError               the embedded server cannot start or stop here
    └── BatchError                  an ExceptionGroup: what failed in a batch

Bad input is not in this tree: it is a `ValueError` or a `TypeError` that names the
parameter and the value, raised before anything is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "AccessDenied",
    "BatchError",
    "BrokenBarrier",
    "ConfigMismatch",
    "ConnectionLost",
    "DeadlineExceeded",
    "DecodeError",
    "EmbeddedError",
    "FactoryTimeout",
    "LockLost",
    "LockTimeout",
    "NotReplicated",
    "OctavoError",
    "OutOfMemory",
    "PrecisionLost",
    "RateLimited",
    "SeasonClosed",
    "SeasonNotFound",
    "ServerError",
    "StaleFence",
    "SubmissionRefused",
    "Unavailable",
    "WouldDeadlock",
    "WriteRefused",
    "WrongType",
]

Outcome = Literal["not_sent", "unknown"]


class OctavoError(Exception):
    """The root of the tree.

    Attributes:
        operation: the operation that failed, such as `leaderboard.submit`.
        key: the first key it touches, as the server knows it.
    """

    refusal: ClassVar[str] = ""
    """The word with which our own scripts begin to refuse with this error, if any does."""

    operation: str | None = None
    key: str | None = None

    def __init__(
        self, message: str, *, operation: str | None = None, key: str | None = None
    ) -> None:
        super().__init__(message)
        self.operation = operation
        self.key = key

    def __str__(self) -> str:
        """The message, then the operation and the key where they are known."""
        where = [
            f"{name}={value}"
            for name, value in (("operation", self.operation), ("key", self.key))
            if value is not None
        ]
        return f"{self.args[0]} [{' '.join(where)}]" if where else str(self.args[0])

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle through the message, so that errors cross process pools."""
        return (_rebuild, (type(self), self.args, self.__dict__))


def _rebuild(kind: type[OctavoError], args: tuple[object, ...], state: dict[str, object]) -> object:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


class ConnectionLost(OctavoError):
    """No reply came.

    Attributes:
        outcome: `"not_sent"`: the server has not acted. `"unknown"`: the command left, the
            reply did not arrive; the server may or may not have acted, exactly once at most.
    """

    def __init__(
        self,
        message: str,
        *,
        outcome: Outcome,
        operation: str | None = None,
        key: str | None = None,
    ) -> None:
        super().__init__(message, operation=operation, key=key)
        self.outcome: Outcome = outcome


class DeadlineExceeded(ConnectionLost, TimeoutError):
    """The operation's `timeout` passed before a reply came."""


class ServerError(OctavoError):
    """The server answered with an error.

    Attributes:
        code: its first word: `ERR`, `WRONGTYPE`, `OOM`, ...
    """

    def __init__(
        self, message: str, *, operation: str | None = None, key: str | None = None
    ) -> None:
        super().__init__(message, operation=operation, key=key)
        self.code = message.partition(" ")[0]


class WrongType(ServerError):
    """The key holds another kind of value than this job stores there."""


class OutOfMemory(ServerError):
    """The server is at `maxmemory` and its policy evicts nothing."""


class WriteRefused(ServerError):
    """The server takes no writes: it cannot persist them, or has too few replicas."""


class AccessDenied(ServerError):
    """The credentials are wrong, or this user may not run the command."""


class Unavailable(ServerError):
    """The server kept refusing (loading, failing over, moving slots) until time was up."""


class ConfigMismatch(OctavoError):
    """The stored object was made with another configuration than this one."""

    refusal = "MISMATCH"


class PrecisionLost(OctavoError, ArithmeticError):
    """A sum that the server's numbers cannot hold: float64 for scores, 64 bits for counters."""

    refusal = "PRECISION"


class DecodeError(OctavoError):
    """Stored bytes that the codec cannot read as the type asked for."""


class FactoryTimeout(OctavoError, TimeoutError):
    """The factory took longer than `timeout`; it goes on, and what it makes is stored."""


class LockTimeout(OctavoError, TimeoutError):
    """What was asked for was not granted within `wait` seconds."""


class LockLost(OctavoError):
    """A lease has ended before its holder gave it back, or may have.

    Attributes:
        name: what was held.
        fence: the fencing token of the lease.
        held_for: seconds from the grant to the moment the loss was noticed.
    """

    def __init__(self, message: str, *, name: str, fence: int, held_for: float) -> None:
        super().__init__(message)
        self.name = name
        self.fence = fence
        self.held_for = held_for


class NotReplicated(OctavoError):
    """Fewer replicas than `sync=` asks for took the grant in time; it was given back."""


class WouldDeadlock(OctavoError):
    """The caller waits, without an end, for what it holds itself."""


class StaleFence(OctavoError):
    """A newer fence than this one has been seen: its holder has lost the lock.

    Attributes:
        fence: the one refused.
        newest: the newest that was admitted.
    """

    def __init__(self, message: str, *, fence: int, newest: int) -> None:
        super().__init__(message)
        self.fence = fence
        self.newest = newest


class RateLimited(OctavoError):
    """A limit has no room for a call, not within the time that it can wait.

    Attributes:
        decision: what the limits say: an `octavo.ratelimit.Decision`.
    """

    def __init__(self, message: str, *, decision: Any) -> None:
        super().__init__(message)
        self.decision: Any = decision


class SubmissionRefused(OctavoError):
    """The rules of a board, or a ban, keep scores out; the others of the call were recorded.

    Attributes:
        refusals: each member that was refused, and why: "banned", or the rule's name.
        submissions: what became of the others: `octavo.leaderboards.Submission`s.
    """

    def __init__(
        self,
        message: str,
        *,
        refusals: Sequence[tuple[str, str]] = (),
        submissions: Sequence[Any] = (),
    ) -> None:
        super().__init__(message)
        self.refusals = list(refusals)
        self.submissions: list[Any] = list(submissions)


class SeasonClosed(OctavoError):
    """The season has ended, or not begun: its standings do not change."""

    refusal = "CLOSED"


class SeasonNotFound(OctavoError):
    """Nobody has opened a season of that name."""

    refusal = "NOSEASON"


class BrokenBarrier(OctavoError):
    """A party of the barrier timed out, was cancelled or died, or somebody called `abort`."""


class EmbeddedError(OctavoError):
    """The embedded server cannot start, or be reached; the message names the cure."""


class BatchError(ExceptionGroup[Exception]):
    """What failed in a batch; each Pending has its own result or error."""

    def derive(self, excs: Sequence[Exception], /) -> BatchError:  # type: ignore[override]
        """Keep the type when the group is split."""
        return BatchError(self.message, excs)
