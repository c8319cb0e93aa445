from __future__ import annotations

import socket
import threading
import time
import timeit
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import redis

from octavo.testing.proxy import WireProxy
from octavo.testing.resp import Splitter
from octavo.testing.waiting import wait_until
from tests.fix_servers import redis_py

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from octavo.testing.servers import Standalone
    from tests.fix_servers import Servers

LOST = (redis.ConnectionError, redis.TimeoutError)


@pytest.fixture
def client(proxy: WireProxy) -> Iterator[Any]:
    """A client behind the proxy that has one connection, made and counted before the test."""
    client = redis_py(proxy.url)
    client.ping()
    proxy.reset()
    yield client
    client.close()


def words(*words: str) -> bytes:
    return b"".join(
        [b"*%d\r\n" % len(words), *(b"$%d\r\n%s\r\n" % (len(w), w.encode()) for w in words)]
    )


def test_one_request_is_one_round_trip(proxy: WireProxy, client: Any) -> None:
    for _ in range(7):
        client.ping()
    assert (proxy.round_trips, proxy.commands) == (7, {"PING": 7})


@pytest.mark.parametrize("payload", [10, 300, 50_000])
def test_one_write_of_many_requests_is_one_round_trip_whatever_its_size(
    proxy: WireProxy, payload: int
) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port)) as raw:
        raw.sendall(200 * words("APPEND", "nothing", "") + words("ECHO", "v" * payload))
        read(raw, Splitter(), 201)
        raw.sendall(200 * words("ECHO", "v" * payload))
        read(raw, Splitter(), 200)
    assert (proxy.round_trips, proxy.commands) == (2, {"APPEND": 200, "ECHO": 201})


def test_a_request_that_arrives_in_pieces_is_one_round_trip(
    proxy: WireProxy, servers: Servers
) -> None:
    servers.get("embedded")
    with socket.create_connection(("127.0.0.1", proxy.port)) as raw:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in words("ECHO", "hello"):
            raw.sendall(bytes([byte]))
        assert raw.recv(100) == b"$5\r\nhello\r\n"
    assert (proxy.round_trips, proxy.commands) == (1, {"ECHO": 1})


def test_what_was_begun_before_a_reply_belongs_to_the_same_round_trip(proxy: WireProxy) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port)) as raw:
        request = words("ECHO", "hello")
        raw.sendall(request + request[:10])
        read(raw, Splitter(), 1)
        raw.sendall(request[10:])
        read(raw, Splitter(), 1)
        assert proxy.round_trips == 1
        raw.sendall(request)
        read(raw, Splitter(), 1)
        assert proxy.round_trips == 2


def test_a_payload_of_megabytes_passes_unchanged(client: Any, prefix: str) -> None:
    payload = "".join(chr(0x100 + i % 700) for i in range(700_000))
    client.set(prefix, payload, ex=10)
    assert client.get(prefix) == payload


def test_pushed_messages_are_passed_on_and_are_no_replies(
    proxy: WireProxy, client: Any, prefix: str
) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port)) as raw:
        splitter = Splitter()
        raw.sendall(words("HELLO", "3"))
        read(raw, splitter, 1)
        raw.sendall(words("CLIENT", "TRACKING", "ON") + words("GET", prefix))
        assert len(read(raw, splitter, 2)) == 2
        proxy.reset()
        client.set(prefix, "new", ex=10)
        assert read(raw, splitter, 1)[0].startswith(b">2\r\n$10\r\ninvalidate")
        raw.sendall(words("GET", prefix))
        assert read(raw, splitter, 1) == [b"$3\r\nnew\r\n"]
    assert proxy.round_trips == 2


def test_pushed_messages_do_not_shift_which_reply_is_dropped(proxy: WireProxy, prefix: str) -> None:
    proxy.script(lambda words: "drop" if words[0] == b"ECHO" else "forward")
    with socket.create_connection(("127.0.0.1", proxy.port)) as raw:
        splitter = Splitter()
        raw.sendall(words("HELLO", "3") + words("CLIENT", "TRACKING", "ON"))
        raw.sendall(words("SUBSCRIBE", prefix))
        read(raw, splitter, 3)
        raw.sendall(words("GET", prefix) + words("SET", prefix, "v", "EX", "9") + words("ECHO", ""))
        got = read(raw, splitter, 3)
        assert sorted(message[:1] for message in got) == [b"+", b">", b"_"]
        with pytest.raises(ConnectionResetError):
            raw.recv(100)


def read(raw: socket.socket, splitter: Splitter, count: int) -> list[bytes]:
    raw.settimeout(15)
    messages: list[bytes] = []
    while len(messages) < count:
        messages += splitter.feed(raw.recv(10_000))
    return messages


def test_connections_are_counted_open_and_ever(proxy: WireProxy) -> None:
    clients = [redis_py(proxy.url) for _ in range(3)]
    for client in clients:
        client.ping()
    assert (proxy.connections, proxy.accepted) == (3, 3)
    clients[0].close()
    wait_until(lambda: proxy.connections == 2, "the proxy saw one go")
    assert proxy.accepted == 3
    for client in clients:
        client.close()


def test_requests_are_recorded_when_asked(standalone: Standalone) -> None:
    with WireProxy(standalone.address, record=True) as proxy, redis_py(proxy.url) as client:
        client.set("k", "v\r\n")
        assert proxy.requests[-1] == [b"SET", b"k", b"v\r\n"]


def test_it_speaks_unix_sockets_on_both_sides(standalone: Standalone, tmp_path: Path) -> None:
    target = standalone.unix_url.removeprefix("unix://")
    with WireProxy(target, str(tmp_path / "p")) as proxy, redis_py(proxy.url) as client:
        assert proxy.url.startswith("unix:///")
        assert client.ping()


def test_a_cut_resets_open_connections_and_welcomes_new_ones(proxy: WireProxy, client: Any) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port)) as raw:
        raw.sendall(words("PING"))
        raw.recv(100)
        proxy.cut()
        assert proxy.connections == 0
        with pytest.raises(ConnectionResetError):
            raw.recv(100)
    assert client.ping()


def test_refused_connections_are_refused_until_accepted_again(
    proxy: WireProxy, client: Any
) -> None:
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", proxy.port))
    assert client.ping()  # over the connection it had
    proxy.accept()
    proxy.accept()
    socket.create_connection(("127.0.0.1", proxy.port)).close()


@pytest.mark.parametrize(("direction", "seen"), [("request", "commands"), ("reply", "round_trips")])
def test_a_delay_holds_one_direction_back_and_keeps_the_order(
    proxy: WireProxy, client: Any, direction: str, seen: str
) -> None:
    proxy.delay(**{direction: 0.2})
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", proxy.port)) as raw:
        raw.sendall(words("ECHO", "1"))
        wait_until(lambda: getattr(proxy, seen), "the first is being held back")
        proxy.delay(**{direction: 0.1})
        raw.sendall(words("ECHO", "2"))
        splitter = Splitter()
        messages = read(raw, splitter, 1)
        assert time.monotonic() - began > 0.2
        messages += read(raw, splitter, 2 - len(messages))
        assert messages == [b"$1\r\n1\r\n", b"$1\r\n2\r\n"]
    proxy.delay()
    assert min(timeit.repeat(client.ping, number=1, repeat=20)) < 0.1


def test_a_dropped_reply_means_executed_but_not_answered(
    proxy: WireProxy, client: Any, prefix: str
) -> None:
    proxy.drop_replies()
    with pytest.raises(LOST):
        client.incr(prefix)
    assert client.get(prefix) == "1"


def test_as_many_replies_are_dropped_as_asked_and_set_up_does_not_count(
    proxy: WireProxy, client: Any, prefix: str
) -> None:
    proxy.drop_replies(2)
    for _ in range(2):
        with pytest.raises(LOST):
            client.incr(prefix)
    assert client.incr(prefix) == 3
    assert proxy.commands["HELLO"] == 2


def test_what_is_sent_along_with_a_dropped_request_is_executed_too(
    proxy: WireProxy, client: Any, prefix: str
) -> None:
    many = 30_000  # so many that they cannot pass in one piece
    proxy.drop_replies()
    with socket.create_connection(("127.0.0.1", proxy.port)) as raw:
        raw.sendall(words("MULTI") + many * words("INCR", prefix) + words("EXEC"))
        with pytest.raises(ConnectionResetError):
            raw.recv(100)
    assert client.get(prefix) == str(many)


def test_what_is_sent_after_a_dropped_request_never_passes(
    proxy: WireProxy, client: Any, prefix: str
) -> None:
    proxy.drop_replies()
    proxy.delay(request=0.5)
    with socket.create_connection(("127.0.0.1", proxy.port)) as raw:
        raw.sendall(words("INCR", prefix))
        wait_until(lambda: proxy.commands["INCR"], "it has been read")
        raw.sendall(words("INCR", prefix))
        with pytest.raises(ConnectionResetError):
            raw.recv(100)
    assert client.get(prefix) == "1"


def test_a_request_is_cut_before_it_reaches_the_server(
    proxy: WireProxy, client: Any, prefix: str
) -> None:
    proxy.cut_before(3)
    assert (client.incr(prefix), client.incr(prefix)) == (1, 2)
    with pytest.raises(LOST):
        client.incr(prefix)
    assert client.get(prefix) == "2"


def test_a_script_decides_on_each_request_by_its_words(
    proxy: WireProxy, client: Any, prefix: str
) -> None:
    proxy.script(lambda words: "cut" if words[0] == b"DEL" else "forward")
    assert client.incr(prefix) == 1
    with pytest.raises(LOST):
        client.delete(prefix)
    proxy.script(None)
    assert client.delete(prefix) == 1


def test_nothing_flows_while_held_and_nothing_is_lost(
    proxy: WireProxy, client: Any, prefix: str
) -> None:
    proxy.hold()
    with ThreadPoolExecutor(1) as pool, redis_py(proxy.url) as other:
        waiting = [pool.submit(client.incr, prefix), pool.submit(other.incr, prefix)]
        with socket.create_connection(("127.0.0.1", proxy.port)) as raw:
            raw.sendall(words("PING"))
            raw.settimeout(0.2)
            with pytest.raises(TimeoutError):
                raw.recv(100)
        assert not any(one.done() for one in waiting)
        proxy.release()
        assert [one.result(15) for one in waiting] == [1, 2]


def test_a_server_that_dies_is_a_lost_connection_and_then_a_reset(
    standalone: Standalone,
) -> None:
    with WireProxy(standalone.address) as proxy, redis_py(proxy.url) as client:
        client.ping()
        standalone.kill()
        for _ in range(2):
            with pytest.raises(redis.ConnectionError):
                client.ping()
        standalone.start()
        assert client.ping()


def test_calm_ends_every_fault(proxy: WireProxy, client: Any) -> None:
    proxy.refuse()
    proxy.hold()
    proxy.delay(reply=60)
    proxy.cut_before()
    proxy.calm()
    with redis_py(proxy.url, socket_timeout=15) as other:
        assert other.ping()


def test_it_closes_while_a_client_reads_nothing(standalone: Standalone) -> None:
    with WireProxy(standalone.address) as proxy:
        raw = socket.create_connection(("127.0.0.1", proxy.port))
        raw.sendall(words("SET", "k", "v" * 20_000_000))
        raw.recv(100)
        raw.sendall(words("GET", "k"))
        client = proxy._links[0].client
        assert client.transport
        wait_until(client.transport.get_write_buffer_size, "the reply is under way")
        standalone.kill()
        wait_until(proxy._links[0].server.gone.is_set, "the proxy knows")
    raw.close()


def test_counts_are_right_under_threads(proxy: WireProxy, prefix: str) -> None:
    def work() -> None:
        with redis_py(proxy.url) as client:
            for _ in range(200):
                client.incr(prefix)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert proxy.commands["INCRBY"] == 1600
    assert proxy.accepted == 8


def test_closing_it_ends_its_thread_and_connections(standalone: Standalone) -> None:
    before = {*threading.enumerate()}
    proxy = WireProxy(standalone.address)
    client = redis_py(proxy.url)
    client.ping()
    proxy.close()
    assert {*threading.enumerate()} <= before
    with pytest.raises(LOST):
        client.ping()
    client.close()
