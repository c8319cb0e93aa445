"""Faults for tests: servers, networks, clocks and workers that fail, one by one or at random.

    with faults.kill(server):
        ...  # it is dead
    with faults.Nemesis([faults.kill(server), faults.script_flush(server)]):
        ...  # one thing after another goes wrong

A fault strikes when entered and heals when left; both return when they have taken effect.
"""

from octavo.testing.faults.base import Fault, Strike, fault
from octavo.testing.faults.clock import clock_of, movable_clock, move_clock
from octavo.testing.faults.crew import Crew, Line, Worker
from octavo.testing.faults.failovers import failover, lossy_failover, takeover
from octavo.testing.faults.nemesis import Nemesis, Step, run_seed
from octavo.testing.faults.network import (
    cut,
    delay,
    drop_replies,
    partition,
    refuse,
    unreplicated,
)
from octavo.testing.faults.processes import kill, pause
from octavo.testing.faults.servers import client_kill, flush_all, script_flush

__all__ = [
    "Crew",
    "Fault",
    "Line",
    "Nemesis",
    "Step",
    "Strike",
    "Worker",
    "client_kill",
    "clock_of",
    "cut",
    "delay",
    "drop_replies",
    "failover",
    "fault",
    "flush_all",
    "kill",
    "lossy_failover",
    "movable_clock",
    "move_clock",
    "partition",
    "pause",
    "refuse",
    "run_seed",
    "script_flush",
    "takeover",
    "unreplicated",
]
