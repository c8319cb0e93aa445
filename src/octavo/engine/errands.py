"""What sync code has done in a thread, for callers who may not wait for its end."""

from __future__ import annotations

import threading
from copy import copy
from time import monotonic
from typing import TYPE_CHECKING

from octavo.engine.command import Signal
from octavo.engine.retry import Lost

if TYPE_CHECKING:
    from collections.abc import Callable


class Errand:
    """Work under way in a thread of its own, which goes on when a caller has stopped waiting."""

    def __init__(self, what: str, work: Callable[[], None]) -> None:
        self._what = what
        self._end = Signal()
        self._error: Exception | None = None
        threading.Thread(target=self._run, args=(work,), name="octavo-errand", daemon=True).start()

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._end.is_set

    def wait(self, deadline: float) -> None:
        """Wait for its end, which may be an error.

        Raises:
            Lost: it has not ended by the deadline.
        """
        if not self._end.wait(deadline - monotonic()):
            raise Lost(f"{self._what} takes longer", sent=False, late=True)
        if (error := self._error) is not None:
            # Each caller has an error of his own: a traceback keeps alive what is in its frames.
            own = Lost(error, sent=False, late=error.late) if type(error) is Lost else copy(error)
            raise own from error.__cause__

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - it is the callers' error
            self._error = error.with_traceback(None)
        finally:
            self._end.set()
