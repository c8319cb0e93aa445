"""Locks and synchronisation. See `README.md` beside this file."""

from octavo.locks.lease import Lease, Loss
from octavo.locks.lock import Lock
from octavo.locks.options import HoldOptions
from octavo.locks.rwlock import RWLock, Side
from octavo.locks.semaphore import Semaphore

__all__ = ["HoldOptions", "Lease", "Lock", "Loss", "RWLock", "Semaphore", "Side"]
