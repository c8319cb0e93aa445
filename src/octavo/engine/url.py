"""URLs: where the server is, and how to log in."""

from __future__ import annotations

import re
from typing import Any, Literal
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import msgspec

Kind = Literal["standalone", "sentinel", "cluster", "embedded"]

_SCHEMES: dict[str, tuple[Kind, bool]] = {
    "redis": ("standalone", False),
    "valkey": ("standalone", False),
    "rediss": ("standalone", True),
    "valkeys": ("standalone", True),
    "unix": ("standalone", False),
    "redis+sentinel": ("sentinel", False),
    "valkey+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
    "valkeys+sentinel": ("sentinel", True),
    "redis+cluster": ("cluster", False),
    "valkey+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
    "valkeys+cluster": ("cluster", True),
    "embedded": ("embedded", False),
}
_DEFAULT_PORT: dict[Kind, int] = {"standalone": 6379, "cluster": 6379, "sentinel": 26379}
_TEXT = {"username", "password", "client_name"}
_TLS = {
    "ssl_ca_certs",
    "ssl_ca_data",
    "ssl_ca_path",
    "ssl_cert_reqs",
    "ssl_certfile",
    "ssl_check_hostname",
    "ssl_keyfile",
    "ssl_password",
}
_CHOICES: dict[str, dict[str, Any]] = {
    "ssl_check_hostname": {"true": True, "false": False},
    "ssl_cert_reqs": {"required": "required", "optional": "optional", "none": "none"},
}
_SENTINEL = {"sentinel_username", "sentinel_password"}


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What a URL says.

    Attributes:
        kind: how the server is arranged.
        nodes: the hosts and ports to begin with; none for a Unix socket.
        path: the Unix socket, or the embedded server's directory.
        service: the name Sentinel knows the primary by.
        ephemeral: whether the embedded server is private and gone with this process.
        tls: whether connections are encrypted.
        options: what else redis-py's connections are made with; holds the credentials.
        sentinel_options: the same for the connections to the Sentinels.
    """

    kind: Kind
    nodes: tuple[tuple[str, int], ...] = ()
    path: str | None = None
    service: str | None = None
    ephemeral: bool = False
    tls: bool = False
    options: dict[str, Any] = {}
    sentinel_options: dict[str, Any] = {}

    def __repr__(self) -> str:
        """Show where the server is, never the credentials."""
        return f"<{self}>"

    def __str__(self) -> str:
        """Name the server as in a log line."""
        where = ",".join(f"{_bracket(host)}:{port}" for host, port in self.nodes) or self.path or ""
        return f"{self.kind} {where}{'/' + self.service if self.service else ''}".rstrip()


def parse_url(url: str) -> Target:
    """Read a URL.

    Raises:
        TypeError: the URL is not a str.
        ValueError: it is malformed; the message says where and never shows a password.
    """
    if not isinstance(url, str):
        raise TypeError(f"url must be a str, not {type(url).__name__}")
    scheme, parts = _split(url)
    kind, tls = _SCHEMES[scheme]
    if kind == "embedded":
        return _embedded(parts)
    options = _credentials(parts) | _query(parts, kind, tls=tls)
    sentinel = {
        name.removeprefix("sentinel_"): options.pop(name) for name in _SENTINEL & options.keys()
    }
    if scheme == "unix":
        path = unquote(parts.netloc.rpartition("@")[2] + parts.path)
        if not path:
            raise ValueError("url names no socket: unix:///path/to/redis.sock")
        return Target(kind=kind, path=path, options=options)
    service, db = _path(parts, kind)
    if db is not None:
        if "db" in options:
            raise ValueError("url names a database twice, in its path and as an option")
        options["db"] = db
    if kind == "cluster" and options.get("db"):
        raise ValueError("url names a database, but a cluster has only database 0")
    return Target(
        kind=kind,
        nodes=_nodes(parts, kind),
        service=service,
        tls=tls,
        options=options,
        sentinel_options=sentinel,
    )


def _split(url: str) -> tuple[str, SplitResult]:
    """Return the scheme and the parts, or refuse the URL without quoting it: it has a password."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in _SCHEMES:
        raise ValueError(
            "url must begin with one of " + ", ".join(f"{known}://" for known in _SCHEMES)
        )
    if any(character.isspace() or not character.isprintable() for character in url):
        raise ValueError("url has white space or a control character: percent-encode it")
    behind_host = re.split(r"[/?#]", rest, maxsplit=1)[1:]
    if scheme != "embedded" and any("@" in text for text in behind_host):
        raise ValueError("url has an @ behind the host: percent-encode what user and password hold")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError("url has a malformed host, user or password") from None
    if parts.fragment:
        raise ValueError("url has a fragment (#), which means nothing here")
    return scheme, parts


def _path(parts: SplitResult, kind: Kind) -> tuple[str | None, int | None]:
    """Return the service (of Sentinel) and the database that the path names."""
    segments = [unquote(segment) for segment in parts.path.split("/")[1:] if segment]
    service = segments.pop(0) if kind == "sentinel" and segments else None
    if kind == "sentinel" and service is None:
        raise ValueError("url names no service: redis+sentinel://host:port,.../service/db")
    if len(segments) > 1:
        raise ValueError(f"url has more in its path than a database: {parts.path!r}")
    return service, _db(segments[0]) if segments else None


def _embedded(parts: SplitResult) -> Target:
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    ephemeral = query.pop("ephemeral", None)
    if query:
        raise ValueError(f"url has an unknown option {min(query)!r}; embedded:// takes ?ephemeral")
    if ephemeral not in (None, ""):
        raise ValueError(f"url option ephemeral takes no value, not {ephemeral!r}")
    path = unquote(parts.netloc + parts.path)
    if path and ephemeral is not None:
        raise ValueError("url names a directory, but an ephemeral server has none: drop one")
    return Target(kind="embedded", path=path or None, ephemeral=ephemeral is not None)


def _credentials(parts: SplitResult) -> dict[str, Any]:
    login, at, _ = parts.netloc.rpartition("@")
    if not at:
        return {}
    username, _, password = login.partition(":")
    found = {"username": unquote(username), "password": unquote(password)}
    return {name: value for name, value in found.items() if value}


def _nodes(parts: SplitResult, kind: Kind) -> tuple[tuple[str, int], ...]:
    hosts = (parts.netloc.rpartition("@")[2] or "localhost").split(",")
    if kind == "standalone" and len(hosts) > 1:
        raise ValueError("url names several hosts, which only +sentinel and +cluster take")
    return tuple(_node(host, _DEFAULT_PORT[kind]) for host in hosts)


def _node(text: str, default: int) -> tuple[str, int]:
    try:
        one = urlsplit(f"//{text}")
        port = default if one.port is None else one.port
    except ValueError:
        raise ValueError(f"url has a malformed host or port: {text!r}") from None
    if not one.hostname or port == 0:
        raise ValueError(f"url has a malformed host or port: {text!r}")
    return one.hostname, port


def _db(text: str) -> int:
    # Not str.isdigit(), which takes digits of every script.
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(f"url names a database that is not a number: {text!r}")
    return int(text)


def _query(parts: SplitResult, kind: Kind, *, tls: bool) -> dict[str, Any]:
    known = _TEXT | {"db"}
    if tls:
        known |= _TLS
    if kind == "sentinel":
        known |= _SENTINEL
    options: dict[str, Any] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in known:
            raise ValueError(
                f"url has an unknown option {name!r}; known: {', '.join(sorted(known))}"
            )
        options[name] = _db(value) if name == "db" else value
    for name, meanings in _CHOICES.items():
        if name in options:
            if options[name] not in meanings:
                raise ValueError(f"url option {name} must be one of {', '.join(meanings)}")
            options[name] = meanings[options[name]]
    return options


def _bracket(host: str) -> str:
    return f"[{host}]" if ":" in host else host
