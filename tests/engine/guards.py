"""What guarded batches are tested with: a guard on a string, and scripts that fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from octavo.engine.script import Script
from octavo.errors import OctavoError
from tests.engine.lab import SCRIPTS

if TYPE_CHECKING:
    from octavo.engine.command import Command

HOLDS = Script(SCRIPTS / "holds.lua", idempotent=True)
FAULT = Script(SCRIPTS / "fault.lua")
SILENT = Script(SCRIPTS / "silent.lua")
COMES_BACK = Script(SCRIPTS / "comes_back.lua")


class Gone(OctavoError):
    """The string holds something else."""


class Holds:
    """Holds while a string holds a value."""

    def __init__(self, key: bytes, value: str = "mine") -> None:
        self.key = key
        self.value = value
        self.error = Gone("not mine")

    def guard_command(self) -> Command[bool]:
        return HOLDS((self.key,), (self.value,), bool)

    def guard_error(self) -> OctavoError:
        return self.error
