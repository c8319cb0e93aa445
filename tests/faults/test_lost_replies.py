"""A network that cuts connections and swallows replies at random."""

from __future__ import annotations

import random
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.faults.ledger import Load

if TYPE_CHECKING:
    from octavo.testing.proxy import Action, WireProxy

SIZES = pytest.mark.parametrize("faults", [40, pytest.param(2000, marks=pytest.mark.soak)])


@SIZES
def test_lost_replies_and_cut_requests_never_run_anything_twice(
    proxy: WireProxy, prefix: str, seed: int, faults: int
) -> None:
    rng = random.Random(seed)
    load = Load(proxy.url, prefix, seed=seed, timeout=20.0)
    done = {"drop": 0, "cut": 0}

    def decide(_: list[bytes]) -> Action:
        if rng.random() < 0.02:
            action: Action = rng.choice(("drop", "cut"))
            done[action] += 1
            load.ledger.fault()
            return action
        return "forward"

    with closing(load):
        with load as ledger:
            proxy.script(decide)
            while done["drop"] + done["cut"] < faults:
                load.go_on(50)
            proxy.script(None)
            load.go_on()
        assert min(done.values()) > 5
        assert ledger.unknown.total()
        ledger.check(load.stored)


@SIZES
def test_connections_cut_at_any_byte_never_run_anything_twice(
    proxy: WireProxy, prefix: str, seed: int, faults: int
) -> None:
    rng = random.Random(seed)
    load = Load(proxy.url, prefix, seed=seed, timeout=20.0)
    with closing(load):
        with load as ledger:
            for _ in range(faults // 4):
                proxy.delay(request=rng.choice((0, 0.003)), reply=rng.choice((0, 0.003)))
                ledger.fault()
                proxy.cut()
                load.go_on(rng.randrange(10, 60))
            proxy.delay()
        ledger.check(load.stored)
