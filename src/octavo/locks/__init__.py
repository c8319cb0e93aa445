"""Locks and synchronisation. See `README.md` beside this file."""

from octavo.locks.barrier import Arrival, Barrier
from octavo.locks.election import Election, Leader, Term
from octavo.locks.gate import Gate
from octavo.locks.inspected import Holder, Kind, LockInfo, Waiter
from octavo.locks.inspection import Locks
from octavo.locks.latch import Latch
from octavo.locks.lease import Lease, Loss
from octavo.locks.lock import Lock
from octavo.locks.multilock import MultiLock
from octavo.locks.options import HoldOptions
from octavo.locks.redlock import Redlock
from octavo.locks.rwlock import RWLock, Side
from octavo.locks.semaphore import Semaphore

__all__ = [
    "Arrival",
    "Barrier",
    "Election",
    "Gate",
    "HoldOptions",
    "Holder",
    "Kind",
    "Latch",
    "Leader",
    "Lease",
    "Lock",
    "LockInfo",
    "Locks",
    "Loss",
    "MultiLock",
    "RWLock",
    "Redlock",
    "Semaphore",
    "Side",
    "Term",
    "Waiter",
]
