"""Which subject a request's address stands for."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from octavo.ratelimit.address import address, client_address

PROXIES = ("10.0.0.0/8", "fd00::/8")

addresses = st.ip_addresses().map(str)
proxies = st.ip_addresses(network="10.0.0.0/8").map(str)
native = st.integers(2**64, 2**128 - 1).map(IPv6Address)  # of which none is an IPv4 one mapped
clients = st.ip_addresses(network="198.51.100.0/24").map(str)
spoofed = st.lists(addresses | st.text(alphabet=" abc.:%[]", max_size=12), max_size=4)


@pytest.mark.parametrize(
    ("value", "subject"),
    [
        ("192.0.2.1", "192.0.2.1"),
        (IPv4Address("192.0.2.1"), "192.0.2.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        (IPv6Address("2001:DB8:1:2:3::4"), "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.1%eth0", "192.0.2.1"),
        ("::1", "::/64"),
    ],
    ids=repr,
)
def test_an_address_stands_for_its_subject(value: Any, subject: str) -> None:
    assert address(value) == subject


def test_other_lengths_of_networks_can_be_asked_for() -> None:
    assert address("192.0.2.77", v4=24) == "192.0.2.0/24"
    assert address("2001:db8:1:2:3::4", v6=48) == "2001:db8:1::/48"
    assert address("2001:db8::4", v6=128) == "2001:db8::4"
    assert address("fe80::4%1", v6=128) == "fe80::4"
    assert address("::ffff:192.0.2.77", v4=24, v6=128) == "192.0.2.0/24"


@given(native, native, st.integers(0, 2**64 - 1))
def test_a_64_is_a_subject_of_its_own(one: IPv6Address, other: IPv6Address, low: int) -> None:
    neighbour = IPv6Address(int(one) >> 64 << 64 | low)
    assert address(neighbour) == address(one)
    assert (address(one) == address(other)) == (int(one) >> 64 == int(other) >> 64)


@pytest.mark.parametrize(
    "text", ["", "localhost", "1.2.3", "1.2.3.4:80", "[::1]", " 1.2.3.4", "1.2.3.4/8", "01.2.3.4"]
)
def test_a_text_that_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"value must be an IP address") as refused:
        address(text)
    assert repr(text) in str(refused.value)


@pytest.mark.parametrize("value", [None, 1, b"\x01\x02\x03\x04"])
def test_what_is_neither_text_nor_an_address_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="value must be"):
        address(value)


@pytest.mark.parametrize("lengths", [{"v4": 0}, {"v4": 33}, {"v6": 0}, {"v6": 129}], ids=repr)
def test_lengths_out_of_range_are_refused(lengths: dict[str, int]) -> None:
    [(name, length)] = lengths.items()
    with pytest.raises(ValueError, match=f"{name} must be .*{length}"):
        address("192.0.2.1", **lengths)
    with pytest.raises(ValueError, match=f"{name} must be .*{length}"):
        client_address("192.0.2.1", None, 0, **lengths)


def test_without_trusted_proxies_the_peer_is_the_client() -> None:
    assert client_address("192.0.2.1", "198.51.100.7", 0) == "192.0.2.1"
    assert client_address("192.0.2.1", "198.51.100.7", ()) == "192.0.2.1"
    assert client_address("192.0.2.1", "198.51.100.7", PROXIES) == "192.0.2.1"
    assert client_address("10.0.0.1", None, PROXIES) == "10.0.0.1"
    assert client_address("10.0.0.1", "", 1) == "10.0.0.1"


@given(spoofed, clients, st.lists(proxies, min_size=1, max_size=4))
def test_nothing_that_a_client_writes_changes_its_address(
    lies: list[str], client: str, path: list[str]
) -> None:
    *hops, remote = path
    field = ", ".join([*lies, client, *hops])
    assert client_address(remote, field, PROXIES) == client
    assert client_address(remote, field, len(path)) == client


@given(addresses | st.text(), st.text(), st.integers(0, 5))
def test_the_field_may_be_anything(remote: str, field: str, count: int) -> None:
    try:
        peer = address(remote)
    except ValueError:
        with pytest.raises(ValueError, match="remote must be"):
            client_address(remote, field, count)
    else:
        assert client_address(remote, field, count) in {peer, *map(aggregated, field.split(","))}


def aggregated(hop: str) -> str:
    return client_address("192.0.2.1", hop, 1)


@pytest.mark.parametrize(
    ("field", "client"),
    [
        ("198.51.100.7, unknown, 10.0.0.2", "10.0.0.2"),
        ("198.51.100.7, , 10.0.0.2", "10.0.0.2"),
        ("198.51.100.7, 10.0.0.999", "10.0.0.1"),
        ("_hidden", "10.0.0.1"),
        ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("198.51.100.7:4711, 10.0.0.2:80", "198.51.100.7"),
        ("[2001:db8::7]:4711, fd00::1", "2001:db8::/64"),
        ("[2001:db8::7]", "2001:db8::/64"),
        ("  198.51.100.7\t,::ffff:10.0.0.2", "198.51.100.7"),
    ],
    ids=repr,
)
def test_the_search_ends_at_the_last_hop_that_is_no_trusted_proxy(field: str, client: str) -> None:
    assert client_address("10.0.0.1", field, PROXIES) == client


def test_a_count_of_proxies_trusts_no_more_than_these() -> None:
    field = "192.0.2.9, 198.51.100.7, 203.0.113.5"
    found = [client_address("10.0.0.1", field, count) for count in range(5)]
    assert found == ["10.0.0.1", "203.0.113.5", "198.51.100.7", "192.0.2.9", "192.0.2.9"]


def test_a_client_is_aggregated_as_it_is_asked_for() -> None:
    assert client_address("10.0.0.1", "198.51.100.7", 1, v4=24) == "198.51.100.0/24"
    assert client_address("10.0.0.1", "2001:db8:1::1", 1, v6=48) == "2001:db8:1::/48"


def test_networks_are_given_as_texts_or_as_such() -> None:
    trusted = [ip_network("10.0.0.0/8"), "192.0.2.1"]
    assert client_address("192.0.2.1", "198.51.100.7, 10.1.1.1", trusted) == "198.51.100.7"
    assert client_address(ip_address("10.9.9.9"), "198.51.100.7", trusted) == "198.51.100.7"


@pytest.mark.parametrize(
    ("remote", "field", "trusted", "error", "names"),
    [
        (None, "198.51.100.7", 1, ValueError, "remote must be the address of the peer"),
        ("", None, 0, ValueError, "remote must be"),
        ("unix:", None, 0, ValueError, "remote must be"),
        (7, None, 0, TypeError, "remote must be"),
        ("10.0.0.1", None, -1, ValueError, "trusted must be"),
        ("10.0.0.1", None, True, TypeError, "trusted must be"),
        ("10.0.0.1", None, "10.0.0.0/8", TypeError, "trusted must be several"),
        ("10.0.0.1", None, ["10.0.0.1/8"], ValueError, "trusted must be networks"),
        ("10.0.0.1", None, ["nowhere"], ValueError, "trusted must be networks"),
        ("10.0.0.1", None, [8], TypeError, "trusted must be networks"),
        ("10.0.0.1", None, None, TypeError, "trusted must be several"),
    ],
    ids=repr,
)
def test_bad_arguments_are_refused_by_name(
    remote: Any, field: Any, trusted: Any, error: type[Exception], names: str
) -> None:
    with pytest.raises(error, match=names):
        client_address(remote, field, trusted)
