"""`db.doctor()`: whether a server is fit for what octavo promises, and what to change."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from octavo.engine.command import Command
from octavo.errors import OctavoError, ServerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Level = Literal["ok", "warning", "error"]

OLDEST = (7, 0)
NEARLY_FULL = 0.8
CLOCK_SKEW = 1.0


class Finding(msgspec.Struct, frozen=True):
    """What one check found.

    Attributes:
        check: what was looked at.
        level: `"error"`: a promise of some job does not hold on this server.
        found: what is so.
        cure: what to change; None when all is well.
    """

    check: str
    level: Level
    found: str
    cure: str | None = None


class Report(msgspec.Struct, frozen=True):
    """What the doctor found, check by check."""

    findings: list[Finding]

    @property
    def ok(self) -> bool:
        """Whether no finding is an error."""
        return all(finding.level != "error" for finding in self.findings)


Info = dict[str, str]


async def examine(kind: str) -> Report:
    """Ask the server about itself; four round trips that change nothing."""
    findings: list[Finding] = []
    try:
        info = await _ask(_parse_info, b"INFO", b"everything")
    except ServerError as error:
        return Report([_refused("server", "INFO", error)])
    clustered = info.get("cluster_enabled") == "1"
    if clustered:
        info |= await _ask(_parse_info, b"CLUSTER", b"INFO")
    findings += [
        _version(info),
        _topology(info, clustered=clustered, kind=kind),
        *_eviction(info),
        *_memory(info),
    ]
    findings += _persistence(info)
    for check, probe in (("RESP3", _resp3), ("scripts", _scripts), ("clock", _clock)):
        try:
            findings.append(await probe())
        except OctavoError as error:
            findings.append(_refused(check, check, error))
    return Report(findings)


async def _ask(read: Callable[[Any], Any], *words: bytes | str) -> Any:
    return await Command(words, (), read, idempotent=True)


def _refused(check: str, what: str, error: OctavoError) -> Finding:
    return Finding(check, "error", str(error), f"let this user run {what}")


def _parse_info(reply: bytes) -> Info:
    lines = (line.partition(":") for line in reply.decode().splitlines())
    return {name: value for name, colon, value in lines if colon}


def _version(info: Info) -> Finding:
    valkey = info.get("valkey_version")
    name, text = ("Valkey", valkey) if valkey else ("Redis", info.get("redis_version", "0"))
    number = tuple(int(part) for part in text.split(".")[:2] if part.isdecimal())
    if number < OLDEST:
        return Finding("version", "error", f"{name} {text}", "upgrade to Redis 7.0 or Valkey")
    return Finding("version", "ok", f"{name} {text}")


def _topology(info: Info, *, clustered: bool, kind: str) -> Finding:
    replicas = f"{info.get('connected_slaves', '0')} replicas connected"
    if clustered and kind != "cluster":
        cure = "connect with redis+cluster://"
        return Finding("topology", "error", "a node of a cluster, addressed as if alone", cure)
    if clustered and info.get("cluster_state") != "ok":
        cure = "CLUSTER SHARDS shows which slots have no primary"
        return Finding("topology", "error", "the cluster does not serve all slots", cure)
    if info.get("role", "master") != "master":
        cure = "connect to the primary, or through redis+sentinel://"
        return Finding("topology", "error", "a read-only replica", cure)
    if clustered:
        nodes = info.get("cluster_known_nodes", "?")
        return Finding("topology", "ok", f"cluster of {nodes} nodes; the one asked has {replicas}")
    return Finding("topology", "ok", f"{kind}, primary, {replicas}")


def _eviction(info: Info) -> Iterator[Finding]:
    policy, limit = info.get("maxmemory_policy", "noeviction"), int(info.get("maxmemory", "0"))
    cure = "CONFIG SET maxmemory-policy noeviction; give caches a server of their own"
    if policy == "noeviction" or limit == 0:
        yield Finding("eviction", "ok", policy if limit else f"{policy}, without a limit")
    elif policy.startswith("allkeys"):
        found = f"{policy}: any key may vanish, also a leaderboard, a queue or a lock"
        yield Finding("eviction", "error", found, cure)
    else:
        found = f"{policy}: keys with a TTL may vanish early, locks and sessions among them"
        yield Finding("eviction", "warning", found, cure)


def _memory(info: Info) -> Iterator[Finding]:
    used, limit = int(info.get("used_memory", "0")), int(info.get("maxmemory", "0"))
    if limit == 0:
        cure = "CONFIG SET maxmemory to what the machine can spare"
        found = f"{_megabytes(used)} used, no limit: the system may kill a server that grows"
        yield Finding("memory", "warning", found, cure)
    elif used > NEARLY_FULL * limit:
        found = f"{_megabytes(used)} used of {_megabytes(limit)}: writes will soon be refused"
        yield Finding("memory", "warning", found, "raise maxmemory, or trim and expire")
    else:
        yield Finding("memory", "ok", f"{_megabytes(used)} used of {_megabytes(limit)}")


def _persistence(info: Info) -> Iterator[Finding]:
    aof = info.get("aof_enabled") == "1"
    failed = [
        name
        for name in ("rdb_last_bgsave_status", "aof_last_write_status", "aof_last_bgrewrite_status")
        if info.get(name, "ok") != "ok"
    ]
    if failed:
        cure = "read the server's log; make room on its disk"
        yield Finding("persistence", "error", f"{', '.join(failed)}: failed", cure)
    elif aof:
        yield Finding("persistence", "ok", "append-only file")
    else:
        found = "no append-only file: a crash loses what came after the last snapshot, or all"
        yield Finding("persistence", "warning", found, "CONFIG SET appendonly yes")


async def _resp3() -> Finding:
    hello: dict[bytes, Any] = await _ask(dict, b"HELLO")
    if hello.get(b"proto") == 3:
        return Finding("RESP3", "ok", "spoken")
    return Finding("RESP3", "error", "not spoken", "upgrade the server, or the proxy before it")


async def _scripts() -> Finding:
    source = b"return {redis.call('TIME')[1], struct.pack('>I2', 1), cmsgpack.pack(1)}"
    await _ask(list, b"EVAL", source, b"0")
    return Finding("scripts", "ok", "run, with struct, cmsgpack and TIME")


async def _clock() -> Finding:
    before = time.time()
    seconds, micros = await _ask(list, b"TIME")
    skew = int(seconds) + int(micros) / 1e6 - (before + time.time()) / 2
    if abs(skew) > CLOCK_SKEW:
        found = f"{skew:+.1f} s from this machine's"
        return Finding("clock", "warning", found, "run NTP on both; octavo goes by the server's")
    return Finding("clock", "ok", f"within {CLOCK_SKEW:.0f} s of this machine's")


def _megabytes(number: int) -> str:
    return f"{number / 2**20:.1f} MB"
