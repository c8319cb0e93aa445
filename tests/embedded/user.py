"""A process that uses an embedded server: it evaluates each line it reads and prints the result."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from octavo.embedded import Embedded, launch
from octavo.errors import EmbeddedError

if TYPE_CHECKING:
    from octavo.embedded.home import Home


def evaluate(expression: str, names: dict[str, object]) -> object:
    """Evaluate what the test asks for; an EmbeddedError becomes its text."""
    try:
        return eval(expression, names)
    except EmbeddedError as error:
        return f"EmbeddedError: {error}"


def fork(expression: str, names: dict[str, object]) -> int:
    """Fork a child that evaluates an expression, then waits to be killed; return its pid."""
    done, its_end = os.pipe()
    child = os.fork()
    if not child:
        os.write(its_end, repr(evaluate(expression, names)).encode())
        os.close(its_end)
        while True:
            time.sleep(60)
    os.close(its_end)
    answer = b""
    while chunk := os.read(done, 4096):
        answer += chunk
    names["answer"] = answer.decode()
    return child


def fork_while_another_thread_starts(server: Embedded, names: dict[str, object]) -> int:
    """Fork a child while a start holds the server's lock; return its pid."""
    really_spawn, spawning = launch.spawn, threading.Event()

    def spawn_slowly(home: Home, binary: str, lock: int, report: int) -> None:
        spawning.set()
        time.sleep(0.3)  # in which the fork would happen, if it could
        really_spawn(home, binary, lock, report)

    launch.spawn = spawn_slowly
    start = threading.Thread(target=server.ensure)
    start.start()
    spawning.wait()
    child = fork("None", names)
    start.join()
    launch.spawn = really_spawn
    return child


def ensure_until_it_fails(server: Embedded, record: str) -> None:
    """Write this process's id, and after that the error, into a file."""
    with Path(record).open("w", encoding="utf-8", buffering=1) as file:
        file.write(f"{os.getpid()}\n")
        while True:
            try:
                server.ensure()
            except EmbeddedError as error:
                file.write(str(error))
                return
            time.sleep(0.02)


def has_children() -> bool:
    """Whether this process has children, living or not yet waited for."""
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return False
    return True


def main() -> None:
    where = sys.argv[1]
    launch.GRACE = float(os.environ["GRACE"])
    server = Embedded(ephemeral=True) if where == "ephemeral" else Embedded(where)
    names: dict[str, object] = {**globals(), "server": server}
    names["fork"] = lambda expression="None": fork(expression, names)
    names["fork_while_another_thread_starts"] = lambda: fork_while_another_thread_starts(
        server, names
    )
    print("up", flush=True)
    for line in sys.stdin:
        print(repr(evaluate(line, names)), flush=True)


if __name__ == "__main__":
    main()
