"""The scripts of limiters."""

from __future__ import annotations

from pathlib import Path

from octavo.engine.script import Script

_here = Path(__file__)

DECIDE = Script(_here.with_name("decide.lua"))
SETTLE = Script(_here.with_name("settle.lua"))
PEEK = Script(_here.with_name("decide.lua"), idempotent=True)
BAN = Script(_here.with_name("ban.lua"), idempotent=True)
RENEW = Script(_here.with_name("renew.lua"), idempotent=True)
