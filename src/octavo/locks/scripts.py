"""The scripts of what can be held."""

from __future__ import annotations

from pathlib import Path

from octavo.engine.script import Script

_here = Path(__file__)

# Repeated by the same owner, these find what their first run has left.
ACQUIRE = Script(_here.with_name("acquire.lua"), idempotent=True)
RENEW = Script(_here.with_name("renew.lua"), idempotent=True)
DOWNGRADE = Script(_here.with_name("downgrade.lua"), idempotent=True)
HELD = Script(_here.with_name("held.lua"), idempotent=True)
AVAILABLE = Script(_here.with_name("available.lua"), idempotent=True)
LEADER = Script(_here.with_name("leader.lua"), idempotent=True)
PROCLAIM = Script(_here.with_name("proclaim.lua"), idempotent=True)
GIVE_UP = Script(_here.with_name("release.lua"), idempotent=True)
# Whoever repeats these has to know that they do.
RELEASE = Script(_here.with_name("release.lua"))
BREAK = Script(_here.with_name("break.lua"))
