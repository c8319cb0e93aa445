"""A network that loses, delays and separates; what they befall is a `WireProxy`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from octavo.testing.faults.base import fault, now

if TYPE_CHECKING:
    from collections.abc import Generator

    from octavo.testing.faults.base import Now
    from octavo.testing.proxy import WireProxy
    from octavo.testing.servers import Standalone
    from octavo.testing.servers.group import Group

__all__ = ["cut", "delay", "drop_replies", "partition", "refuse", "unreplicated"]


@fault
def cut(proxy: Now[WireProxy]) -> Generator[WireProxy]:
    """Reset all connections of clients, who may connect again at once."""
    target = now(proxy)
    target.cut()
    yield target


@fault
def refuse(proxy: Now[WireProxy]) -> Generator[WireProxy]:
    """Reset all connections of clients, and refuse new ones until healed."""
    target = now(proxy)
    target.refuse()
    target.cut()
    yield target
    target.accept()


@fault
def partition(proxy: Now[WireProxy]) -> Generator[WireProxy]:
    """Let nothing through between clients and server; nobody is told, what was sent comes late."""
    target = now(proxy)
    target.hold()
    yield target
    target.release()


@fault
def delay(
    proxy: Now[WireProxy], *, request: float = 0.0, reply: float = 0.0
) -> Generator[WireProxy]:
    """Hold each request and each reply back for so many seconds."""
    target = now(proxy)
    target.delay(request=request, reply=reply)
    yield target
    target.delay()


@fault
def drop_replies(proxy: Now[WireProxy], n: int = 1) -> Generator[WireProxy]:
    """Have the next `n` requests executed but not answered; healing spares those to come."""
    target = now(proxy)
    target.drop_replies(n)
    yield target
    target.script(None)


@fault
def unreplicated(group: Group, node: Now[Standalone]) -> Generator[Standalone]:
    """Let nothing a node writes reach its replicas, while clients get their replies.

    Args:
        group: made with `proxied=True`.
        node: a primary of it.
    """
    primary = now(node)
    proxy = group.proxy_of(primary)
    proxy.hold("replicas")
    yield primary
    proxy.release("replicas")
