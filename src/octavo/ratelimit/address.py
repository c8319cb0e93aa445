"""Addresses as subjects: aggregated, and found behind proxies."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

from octavo.engine.checks import several, whole

if TYPE_CHECKING:
    from collections.abc import Iterable

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_PORT = re.compile(r"\[([^]]+)\](?::[0-9]+)?|([^:]+):[0-9]+")


def address(value: str | Address, *, v4: int = 32, v6: int = 64) -> str:
    """Return the subject that an address belongs to: itself, or the network that one client has.

    An IPv4 address mapped into IPv6 is the IPv4 one, and the zone of a local address is left out.

    Args:
        value: the address, or its text.
        v4: bits of an IPv4 address that tell clients apart.
        v6: bits of an IPv6 address that tell clients apart; clients often have a /64 to choose
            from.
    """
    whole("v4", v4, 1, 32)
    whole("v6", v6, 1, 128)
    return _aggregated(_plain("value", value), v4, v6)


def client_address(
    remote: str | Address | None,
    forwarded_for: str | None,
    trusted: int | Iterable[str | Network],
    *,
    v4: int = 32,
    v6: int = 64,
) -> str:
    """Return the subject of the client that sent a request, possibly through proxies.

    That is the last hop that is not one of the trusted proxies: anybody may have written what
    stands before it. The search ends at a hop that is no address.

    Args:
        remote: the address of the peer.
        forwarded_for: the field `X-Forwarded-For`, if there is one.
        trusted: how many proxies every request passes, or the networks of those trusted.
        v4: as for `address`.
        v6: as for `address`.
    """
    if remote is None:
        raise ValueError("remote must be the address of the peer, not None")
    whole("v4", v4, 1, 32)
    whole("v6", v6, 1, 128)
    count, networks = _trust(trusted)
    client = _plain("remote", remote)
    hops = forwarded_for.split(",") if forwarded_for else []
    for passed, hop in enumerate(reversed(hops)):
        if passed >= count and not any(client in network for network in networks):
            break
        try:
            client = _plain("forwarded_for", _bare(hop.strip()))
        except ValueError:
            break
    return _aggregated(client, v4, v6)


def _trust(trusted: int | Iterable[str | Network]) -> tuple[int, tuple[Network, ...]]:
    if isinstance(trusted, int):
        return whole("trusted", trusted, 0), ()
    return 0, _networks(tuple(several("trusted", trusted)))


@lru_cache(maxsize=64)
def _networks(trusted: tuple[str | Network, ...]) -> tuple[Network, ...]:
    for network in trusted:
        if not isinstance(network, str | Network):
            raise TypeError(f"trusted must be networks or their texts, not {network!r}")
    try:
        return tuple(ip_network(network) for network in trusted)
    except ValueError as error:
        raise ValueError(f"trusted must be networks such as '10.0.0.0/8': {error}") from None


def _bare(hop: str) -> str:
    found = _PORT.fullmatch(hop)
    return hop if found is None else found[1] or found[2]


def _plain(parameter: str, value: object) -> Address:
    if not isinstance(value, str | Address):
        raise TypeError(f"{parameter} must be an IP address or its text, not {value!r}")
    try:
        found = ip_address(value)
    except ValueError:
        raise ValueError(f"{parameter} must be an IP address, not {value!r}") from None
    if isinstance(found, IPv4Address):
        return found
    return found.ipv4_mapped or IPv6Address(int(found))


def _aggregated(found: Address, v4: int, v6: int) -> str:
    if isinstance(found, IPv4Address):
        return str(found) if v4 == 32 else str(IPv4Network((int(found), v4), strict=False))
    return str(found) if v6 == 128 else str(IPv6Network((int(found), v6), strict=False))
