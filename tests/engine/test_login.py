"""Getting in: TLS, users and passwords, databases, Unix sockets."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from redis.credentials import UsernamePasswordCredentialProvider

import octavo
from octavo.testing.servers import Standalone
from tests.engine.lab import Lab, command, lab_of, took
from tests.fix_servers import require

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from octavo.testing.proxy import WireProxy
    from tests.fix_faces import Connect
    from tests.fix_servers import Servers

PASSWORD = "p:w/%@é?#"


@pytest.fixture(scope="module")
def guarded(servers: Servers) -> Iterator[Standalone]:
    """A server with users."""
    with Standalone(require("valkey")) as server:
        server.cli("ACL", "SETUSER", "me", "on", f">{PASSWORD}", "~*", "&*", "+@all")
        server.cli("ACL", "SETUSER", "reader", "on", ">r", "~*", "+@read", "+ping", "+eval")
        server.cli("ACL", "SETUSER", "elsewhere", "on", ">e", "~other:*", "+@all")
        yield server


def url_for(server: Standalone, login: str, rest: str = "") -> str:
    return f"redis://{login}@{server.address}{rest}"


def whoami(lab: Any) -> bytes:
    reply: bytes = lab.send(command("ACL", None, "WHOAMI"))
    return reply


def test_a_user_and_password_of_the_url_log_in(connect: Connect, guarded: Standalone) -> None:
    lab = lab_of(connect(url_for(guarded, f"me:{quote(PASSWORD, safe='')}")))
    assert whoami(lab) == b"me"


def test_a_password_alone_logs_in_as_the_default_user(connect: Connect) -> None:
    with Standalone(require("valkey")) as server:
        server.cli("CONFIG", "SET", "requirepass", "pw")
        lab = lab_of(connect(url_for(server, ":pw")))
        assert whoami(lab) == b"default"


def test_a_credential_provider_logs_in(connect: Connect, guarded: Standalone) -> None:
    provider = UsernamePasswordCredentialProvider("me", PASSWORD)
    lab = lab_of(connect(guarded.url, credential_provider=provider))
    assert whoami(lab) == b"me"


@pytest.mark.parametrize("login", ["me:wrong", "nobody:pw"])
def test_wrong_credentials_are_refused_at_once(
    connect: Connect, guarded: Standalone, login: str
) -> None:
    lab = lab_of(connect(url_for(guarded, login)))
    with took(0, 4), pytest.raises(octavo.AccessDenied) as caught:
        lab.add("n")
    assert caught.value.operation == "lab.add"
    assert caught.value.key == lab.key("n").decode()
    assert caught.value.code == "WRONGPASS"
    assert "wrong" not in str(caught.value).replace("WRONGPASS", "")


def test_a_server_that_wants_a_password_says_so_at_once(connect: Connect) -> None:
    with Standalone(require("valkey")) as server:
        server.cli("CONFIG", "SET", "requirepass", "pw")
        lab = lab_of(connect(server.url))
        with took(0, 4), pytest.raises(octavo.AccessDenied) as caught:
            lab.add("n")
        assert caught.value.code == "NOAUTH"


def test_what_a_user_may_not_do_is_access_denied(connect: Connect, guarded: Standalone) -> None:
    lab = lab_of(connect(url_for(guarded, "reader:r")))
    assert lab.get("n") is None
    for denied in (lab.add, lab.bump):
        with pytest.raises(octavo.AccessDenied, match="'incrby'") as caught:
            denied("n")
        assert caught.value.key == lab.key("n").decode()
        assert caught.value.operation in ("lab.add", "lab.bump")


def test_a_key_that_a_user_may_not_touch_is_access_denied(
    connect: Connect, guarded: Standalone
) -> None:
    lab = lab_of(connect(url_for(guarded, "elsewhere:e")))
    with pytest.raises(octavo.AccessDenied, match="NOPERM"):
        lab.get("n")


def test_a_database_of_the_url_is_used(connect: Connect, standalone: Standalone) -> None:
    lab = lab_of(connect(f"{standalone.url}/3"))
    lab.put("k", "v")
    assert lab_of(connect(standalone.url)).get("k") is None
    assert lab_of(connect(f"{standalone.unix_url}?db=3")).get("k") == b"v"


def test_a_database_that_does_not_exist_is_refused_at_once(
    connect: Connect, standalone: Standalone
) -> None:
    lab = lab_of(connect(f"{standalone.url}/99"))
    with took(0, 4), pytest.raises(octavo.ServerError, match="out of range"):
        lab.get("k")


def test_a_unix_socket_is_used(connect: Connect, standalone: Standalone) -> None:
    lab = lab_of(connect(standalone.unix_url))
    path = standalone.unix_url.removeprefix("unix://").encode()
    assert path in lab.send(command("CLIENT", None, "INFO"))


def test_the_client_name_of_the_url_is_seen_by_the_server(
    connect: Connect, standalone: Standalone
) -> None:
    lab = lab_of(connect(f"{standalone.url}?client_name=web-1"))
    assert lab.send(command("CLIENT", None, "GETNAME")) == b"web-1"


def test_logging_in_is_one_round_trip(connect: Connect, proxy: WireProxy) -> None:
    lab_of(connect(proxy.url)).get("k")
    assert proxy.round_trips <= 2
    assert "CLIENT" not in proxy.commands


def test_a_password_is_in_no_error(connect: Connect, guarded: Standalone) -> None:
    lab = lab_of(connect(url_for(guarded, "me:hunter2")))
    with pytest.raises(octavo.AccessDenied) as denied:
        lab.get("k")
    lab = lab_of(connect("redis://me:hunter2@127.0.0.1:1", timeout=0.3))
    with pytest.raises(octavo.ConnectionLost) as lost:
        lab.get("k")
    errors: list[BaseException | None] = [denied.value, lost.value]
    while errors:
        error = errors.pop()
        assert "hunter2" not in f"{error!r} {error}"
        if error is not None:
            errors += error.__cause__, error.__context__


# TLS.


def test_tls_works_on_every_face(connect: Connect, tls_server: Standalone) -> None:
    lab = lab_of(connect(tls_server.url))
    assert lab.add("n") == 1
    assert lab.bump("n") == 2
    lab.put("big", b"x" * 1_000_000)
    assert len(lab.get("big")) == 1_000_000


def test_a_certificate_of_an_unknown_authority_is_a_clear_error(
    connect: Connect, tls_server: Standalone, tmp_path: Path
) -> None:
    import trustme  # noqa: PLC0415 - as in tls_server

    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    lab = lab_of(connect(f"rediss://{tls_server.address}?ssl_ca_certs={other}", timeout=1.0))
    with took(0, 2.5), pytest.raises(octavo.ConnectionLost, match=r"(?i)certificate") as caught:
        lab.add("n")
    assert caught.value.outcome == "not_sent"


def test_an_authority_that_is_no_file_is_a_clear_error(
    connect: Connect, tls_server: Standalone
) -> None:
    lab = lab_of(connect(f"rediss://{tls_server.address}?ssl_ca_certs=/none.pem", timeout=1.0))
    with (
        took(0, 2.5),
        pytest.raises((octavo.OctavoError, OSError), match=r"No such file|none\.pem"),
    ):
        lab.add("n")


def test_plain_text_to_a_tls_port_ends_in_an_error(
    connect: Connect, tls_server: Standalone
) -> None:
    lab = lab_of(connect(f"redis://{tls_server.address}", timeout=0.5))
    with took(0, 2), pytest.raises(octavo.ConnectionLost) as caught:
        lab.add("n")
    assert caught.value.outcome == "not_sent"


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_leaves_an_encrypted_connection_alone(tls_server: Standalone) -> None:
    with octavo.connect(tls_server.url) as client:
        lab = Lab(client)
        ours = lab.send(command("CLIENT", None, "ID"))
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                status = int(lab.send(command("CLIENT", None, "ID")) == ours)
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert lab.send(command("CLIENT", None, "ID")) == ours
