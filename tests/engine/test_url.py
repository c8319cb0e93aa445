from __future__ import annotations

from typing import Any

import pytest

import octavo
from octavo.engine.url import parse_url

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("url", "says", "options"),
    [
        ("redis://", "standalone localhost:6379", {}),
        ("redis://example", "standalone example:6379", {}),
        ("valkey://example:1", "standalone example:1", {}),
        ("rediss://example", "standalone example:6379", {}),
        ("valkeys://example", "standalone example:6379", {}),
        ("redis://[::1]:7000", "standalone [::1]:7000", {}),
        ("redis://example/3", "standalone example:6379", {"db": 3}),
        ("redis://example/3/", "standalone example:6379", {"db": 3}),
        ("redis://example?db=3", "standalone example:6379", {"db": 3}),
        ("redis://:pw@example", "standalone example:6379", {"password": "pw"}),
        ("redis://me@example", "standalone example:6379", {"username": "me"}),
        ("redis://me:pw@example", "standalone example:6379", {"username": "me", "password": "pw"}),
        (
            "redis://m%40e:p%3Aw%2F%25@example",
            "standalone example:6379",
            {"username": "m@e", "password": "p:w/%"},
        ),
        (
            "redis://example?username=me&password=p%26w",
            "standalone example:6379",
            {"username": "me", "password": "p&w"},
        ),
        ("redis://example?client_name=web-1", "standalone example:6379", {"client_name": "web-1"}),
        ("unix:///run/redis.sock", "standalone /run/redis.sock", {}),
        ("unix:///run/a%20b.sock?db=2", "standalone /run/a b.sock", {"db": 2}),
        ("unix://me:pw@/run/s", "standalone /run/s", {"username": "me", "password": "pw"}),
        ("redis+sentinel://a:1,b/main", "sentinel a:1,b:26379/main", {}),
        ("valkey+sentinel://a/main/2", "sentinel a:26379/main", {"db": 2}),
        ("redis+sentinel://a/m%2Fain", "sentinel a:26379/m/ain", {}),
        ("rediss+sentinel://a/main", "sentinel a:26379/main", {}),
        ("redis+cluster://a:1,b,[::1]:2", "cluster a:1,b:6379,[::1]:2", {}),
        ("valkeys+cluster://a", "cluster a:6379", {}),
        ("embedded://", "embedded", {}),
        ("embedded:///var/lib/app", "embedded /var/lib/app", {}),
        ("embedded://data/app", "embedded data/app", {}),
        ("embedded://?ephemeral", "embedded", {}),
    ],
)
def test_a_url_says_where_the_server_is(url: str, says: str, options: dict[str, Any]) -> None:
    target = parse_url(url)
    assert (str(target), target.options) == (says, options)


def test_the_scheme_says_whether_to_encrypt() -> None:
    schemes = ["redis", "valkey", "redis+sentinel", "redis+cluster"]
    plain = [f"{scheme}://a/x" if "sent" in scheme else f"{scheme}://a" for scheme in schemes]
    assert not any(parse_url(url).tls for url in plain)
    encrypted = [url.replace("redis", "rediss", 1).replace("valkey", "valkeys", 1) for url in plain]
    assert all(parse_url(url).tls for url in encrypted)


def test_tls_options_belong_to_encrypted_urls() -> None:
    options = "ssl_ca_certs=/ca.pem&ssl_check_hostname=false&ssl_cert_reqs=required"
    assert parse_url(f"rediss://a?{options}").options == {
        "ssl_ca_certs": "/ca.pem",
        "ssl_check_hostname": False,
        "ssl_cert_reqs": "required",
    }
    with pytest.raises(ValueError, match="unknown option 'ssl_ca_certs'"):
        parse_url(f"redis://a?{options}")


def test_sentinels_may_have_credentials_of_their_own() -> None:
    target = parse_url("redis+sentinel://me:pw@a/main?sentinel_username=s&sentinel_password=t")
    assert target.options == {"username": "me", "password": "pw"}
    assert target.sentinel_options == {"username": "s", "password": "t"}
    with pytest.raises(ValueError, match="unknown option 'sentinel_password'"):
        parse_url("redis://a?sentinel_password=t")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "must begin with one of"),
        ("localhost:6379", "must begin with one of"),
        ("http://example", "must begin with one of"),
        ("redis:example", "must begin with one of redis://"),
        ("redis://example:port", "malformed host or port"),
        ("redis://example:0", "malformed host or port"),
        ("redis://example:70000", "malformed host or port"),
        ("redis://example:+1", "malformed host or port"),
        ("redis://::1:6379", "malformed host or port"),
        ("redis://a b", "white space"),
        ("redis://a\n", "white space"),
        ("redis://[::1", "malformed"),
        ("redis://a:1,b:2", "several hosts"),
        ("redis://example/x", "database that is not a number: 'x'"),
        ("redis://example/-1", "database that is not a number"),
        ("redis://example/٣", "database that is not a number"),
        ("redis://example/1/2", "more in its path than a database"),
        ("redis://example/1?db=2", "a database twice"),
        ("redis://example/0#1", "fragment"),
        ("redis://example?timeout=1", "unknown option 'timeout'"),
        ("redis://example?db=one", "database that is not a number"),
        (
            "rediss://example?ssl_check_hostname=maybe",
            "ssl_check_hostname must be one of true, false",
        ),
        ("rediss://example?ssl_cert_reqs=perhaps", "ssl_cert_reqs must be one of"),
        ("unix://", "names no socket"),
        ("redis+sentinel://a", "names no service"),
        ("redis+sentinel://a,/main", "malformed host or port"),
        ("redis+sentinel://a/main/1/2", "more in its path"),
        ("redis+cluster://a/1", "a cluster has only database 0"),
        ("embedded://?durable", "unknown option 'durable'"),
        ("embedded://?ephemeral=1", "takes no value"),
        ("embedded:///data?ephemeral", "drop one"),
    ],
)
def test_a_malformed_url_is_refused_by_what_is_wrong_with_it(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_url(url)
    with pytest.raises(ValueError, match=message):
        octavo.connect(url)


def test_a_url_that_is_no_text_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="url must be a str, not int"):
        octavo.connect(6379)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url",
    [
        "redis://me:{}@example:port",
        "redis://me:{}@example/x",
        "redis://me:{}@example?what=1",
        "redis://me:{}@[::1",
        "redis://me:{}/more@example",
        "redis://me:{}#more@example",
        "redis://me:{}?more@example",
        "redis://me:{}[more@example",
        "redis://me:more/{}@example",
        "redis://me:more#{}@example",
        "redis://me:more?{}@example",
        "redis://me:{}℀@example",
        "redis://:{}@:6379",
        "http://me:{}@example",
        "redis+sentinel://me:{}@a",
        "redis+cluster://me:{}@a/1",
        "embedded://me:{}@a?x",
        "rediss://a?ssl_password={}&ssl_check_hostname=maybe",
        "redis://a?password={}&what=1",
    ],
)
def test_a_malformed_url_never_shows_its_password(url: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        octavo.connect(url.format(SECRET))
    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET not in repr(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


@pytest.mark.parametrize(
    "url",
    [
        "redis://me:{}@127.0.0.1:1/0",
        "redis+sentinel://me:{}@127.0.0.1:1/main?sentinel_password={}",
        "redis+cluster://me:{}@127.0.0.1:1",
        "unix://me:{}@/nowhere",
    ],
)
@pytest.mark.parametrize("connect", [octavo.connect, octavo.connect_async])
def test_a_client_shows_where_the_server_is_and_never_the_password(url: str, connect: Any) -> None:
    shown = repr(connect(url.replace("{}", SECRET)))
    assert SECRET not in shown
    assert "127.0.0.1:1" in shown or "/nowhere" in shown


@pytest.mark.parametrize(
    "argument",
    [
        {"timeout": 0},
        {"timeout": -1},
        {"timeout": float("nan")},
        {"timeout": float("inf")},
        {"timeout": True},
        {"timeout": "5"},
        {"timeout": None},
        {"connect_timeout": 0},
        {"connect_timeout": "2"},
        {"prefix": ""},
        {"prefix": "a{b"},
        {"prefix": "a}b"},
        {"prefix": 3},
    ],
    ids=repr,
)
@pytest.mark.parametrize("connect", [octavo.connect, octavo.connect_async])
def test_a_bad_argument_is_refused_by_its_name(connect: Any, argument: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError), match=next(iter(argument))):
        connect("redis://localhost", **argument)


@pytest.mark.parametrize("limit", [0, -1, True, 1.5, "10", None])
def test_a_bad_max_in_flight_is_refused(limit: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="max_in_flight"):
        octavo.connect_async("redis://localhost", max_in_flight=limit)


def test_without_a_url_the_environment_names_the_server(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OCTAVO_URL", f"redis://me:{SECRET}@127.0.0.1:1")
    with caplog.at_level("INFO", "octavo"):
        client = octavo.connect()
    assert "127.0.0.1:1" in repr(client)
    assert "standalone 127.0.0.1:1" in caplog.text
    assert SECRET not in caplog.text


def test_without_a_url_and_environment_the_server_is_embedded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("OCTAVO_URL", raising=False)
    with caplog.at_level("INFO", "octavo"):
        octavo.connect()
    assert "embedded" in caplog.text
