"""The scripts of the cache."""

from __future__ import annotations

from pathlib import Path

from octavo.engine.script import Script

_here = Path(__file__)

ADD = Script(_here.with_name("add.lua"))
INCR = Script(_here.with_name("incr.lua"))
TOUCH = Script(_here.with_name("touch.lua"))
INVALIDATE = Script(_here.with_name("invalidate.lua"))
# Repeating any of these finds what its first run has left, and changes nothing more.
CLAIM = Script(_here.with_name("claim.lua"), idempotent=True)
FILL = Script(_here.with_name("fill.lua"), idempotent=True)
LEASE = Script(_here.with_name("lease.lua"), idempotent=True)
MINT = Script(_here.with_name("mint.lua"), idempotent=True)
