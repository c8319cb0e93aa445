"""Operations that run only while a guard holds, as one script made of the guard's and of theirs.

Inside MULTI a failed check does not stop what comes behind it, and WATCH is broken by whoever
renews what is watched. In a script a check decides, and nobody comes between it and the rest.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import msgspec

from octavo.engine.fork import lazy
from octavo.engine.script import Script

if TYPE_CHECKING:
    from collections.abc import Sequence

    from octavo.engine.command import Command, Word
    from octavo.errors import OctavoError

_MOST_WORDS = 7_999
"""Words of a plain command: as many as Lua's unpack() returns."""

# The shebang has a server that takes no writes (READONLY, OOM, ...) refuse all of it before it
# runs, not each write when its turn comes. xpcall() hands over an error as it was raised; the
# servers' pcall() would make the code of a reply and the message of a fault look the same.
_COMPOSED = """\
#!lua
local scripts = {
{functions}}
local function caught(fault)
  if type(fault) == 'table' then return fault end
  return {err = 'ERR ' .. tostring(fault)}
end
local function some(list, behind, count)
  local taken = {}
  for i = 1, count do taken[i] = list[behind + i] end
  return taken
end
local plan, keys_taken, words_taken, replies = cmsgpack.unpack(ARGV[1]), 0, 1, {}
for at = 1, #plan, 3 do
  local script = scripts[plan[at]]
  local keys, words = some(KEYS, keys_taken, plan[at + 1]), some(ARGV, words_taken, plan[at + 2])
  keys_taken, words_taken = keys_taken + #keys, words_taken + #words
  local _, reply = xpcall(function()
    if script then return script(keys, words) end
    return redis.pcall(unpack(words))
  end, caught)
  if reply == nil then reply = false end
  replies[#replies + 1] = reply
  if replies[1] ~= 1 then break end
end
return replies
"""


@runtime_checkable
class Guard(Protocol):
    """What a batch may depend on, such as the lease of a lock."""

    def guard_command(self) -> Command[bool]:
        """Return the Command that checks it: of a script that returns 1 if it holds.

        Asked for whenever operations are about to be sent. It may raise what `guard_error`
        returns, if that is known. If it is not idempotent, no batch is sent again for it.
        """
        ...

    def guard_error(self) -> OctavoError:
        """Return what is raised when it does not hold, as the Command has read from the reply."""
        ...


class _Composed(Script):
    """Scripts as the functions of one, which runs a plan of them and of plain commands."""

    def __init__(self, scripts: Sequence[Script]) -> None:
        super().__init__(Path(__file__))
        self._scripts = scripts

    @lazy
    def source(self) -> bytes:
        """The text that is sent: what the scripts call KEYS and ARGV are parameters in it."""
        functions = [
            f"function(KEYS, ARGV)\n{script.source.decode()}\nend,\n" for script in self._scripts
        ]
        return _COMPOSED.replace("{functions}", "".join(functions)).encode()


@lru_cache(maxsize=256)
def _composed(scripts: tuple[Script, ...]) -> _Composed:
    return _Composed(scripts)


def guarded(check: Command[bool], commands: Sequence[Command[Any]]) -> Command[list[Any]]:
    """Return the Command whose replies are the check's, and if that is 1, those of the commands.

    What is sent for it is the same text for the same scripts, in whatever order they are used.

    Raises:
        ValueError: a command cannot be run so.
    """
    steps = (check, *commands)
    scripts = {step.script.sha: step.script for step in steps if step.script is not None}
    numbers = {sha: number for number, sha in enumerate(sorted(scripts), 1)}
    plan: list[int] = []
    keys: list[bytes] = []
    words: list[Word] = []
    for step in steps:
        own = step.words
        number = 0
        if step.script is not None:
            own = own[3 + len(step.keys) :]
            number = numbers[step.script.sha]
        _check_runs(step)
        plan += (number, len(step.keys), len(own))
        keys += step.keys
        words += own
        for more in step.behind:
            plan += (0, 0, len(more))
            words += more
    script = _composed(tuple(scripts[sha] for sha in numbers))
    return msgspec.structs.replace(
        script(tuple(keys), (msgspec.msgpack.encode(plan), *words), list),
        idempotent=all(step.idempotent for step in steps),
        tracked=tuple(ticket for command in commands for ticket in command.tracked),
    )


def _check_runs(command: Command[Any]) -> None:
    words, why = command.words, ""
    if command.script is None and len(words) > _MOST_WORDS:
        why = f"it has {len(words):,} words, and there may be {_MOST_WORDS:,}: divide it"
    elif command.at is not None:
        why = "it goes to a node of its own choice"
    if why:
        name = words[0].decode() if isinstance(words[0], bytes) else words[0]
        raise ValueError(f"{name} cannot be part of a guarded batch: {why}")
