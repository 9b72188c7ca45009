"""Webhooks: where they may go, what an answer means, and a real receiver on loopback that behaves badly."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from lambdas.common import kinds
from lambdas.common.kinds import JsonObject, Work
from lambdas.common.retry import PermanentError, RetryAfter
from lambdas.common.settings import SettingError
from lambdas.process_task import kinds as kinds_package
from lambdas.process_task import outbound
from lambdas.process_task.answers import Answer, NotNow, Redirected, verdict, wait_seconds
from lambdas.process_task.attempt import MAX_WAIT_SECONDS, error_text
from lambdas.process_task.destinations import NotAllowed, Rules, Url, networks_of, parse_url, runtime_of
from lambdas.process_task.kinds import webhook
from lambdas.process_task.outbound import NoAnswer, Way, system_resolve
from tests.support.receiver import (
    Act,
    answer,
    certificate,
    drip,
    hang,
    receiving,
    reset,
    say,
    server_side,
)

HERE = networks_of(("127.0.0.0/8",))
SECRET = "s3cr3t"
NOW = 1_790_000_000.0
"""Mon, 21 Sep 2026 14:13:20 GMT."""


# Addresses. -----------------------------------------------------------------------------------------------------------

PUBLIC = (
    "8.8.8.8",
    "1.1.1.1",
    "172.15.255.255",
    "172.32.0.1",
    "100.63.255.255",
    "100.128.0.1",
    "169.253.255.255",
    "169.255.0.1",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2a00:1450:4001::1",
    "::ffff:8.8.8.8",  # mapped
    "64:ff9b::808:808",  # NAT64, as DNS64 makes it of 8.8.8.8
    "2002:808:808::1",  # 6to4 of 8.8.8.8
)
PRIVATE = (
    "10.0.0.1",
    "10.255.255.255",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",  # carriers' NAT
    "127.0.0.1",
    "127.255.255.254",
    "192.0.0.8",
    "192.0.0.9",  # is_global, and for a protocol
    "192.0.2.1",  # examples
    "192.88.99.1",
    "198.18.0.1",  # benchmarks
    "198.51.100.1",
    "203.0.113.1",
    "240.0.0.1",
    "::1",
    "fc00::1",
    "fd12:3456::1",
    "fec0::1",  # site-local
    "100::1",  # black hole
    "5f00::1",  # segment routing
    "2001:0:808:808::f7f7:f7f7",  # Teredo of 8.8.8.8, and not for servers
    "2001:2::1",
    "2001:db8::1",
    "3fff::1",
    "64:ff9b:1::a00:1",  # NAT64 of a network's own
    "::ffff:10.0.0.1",
    "::ffff:127.0.0.1",
    "64:ff9b::a00:1",  # NAT64 of 10.0.0.1
    "64:ff9b::7f00:1",
    "2002:a00:1::",  # 6to4 of 10.0.0.1
    "2002:7f00:1::",
    "2001:0:a00:1::f5ff:fffe",  # Teredo: its server, its client
    "::7f00:1",  # IPv4-compatible
    "::ffff:0:7f00:1",  # translated
    "2606:4700::5efe:a00:1",  # ISATAP
    "2606:4700::200:5efe:a00:1",
)
NEVER = (
    "169.254.169.254",  # metadata
    "169.254.170.2",  # credentials of a container
    "169.254.0.1",
    "0.0.0.0",  # noqa: S104  an address to refuse, not one to listen on
    "0.1.2.3",
    "224.0.0.1",
    "239.255.255.255",
    "255.255.255.255",
    "::",
    "fe80::1",
    "fe80::1%lo",
    "ff02::1",
    "ff0e::1",
    "fd00:ec2::254",
    "fd00:ec2::23",
    "::ffff:169.254.169.254",
    "::ffff:0.0.0.0",
    "::a9fe:a9fe",
    "::ffff:0:a9fe:a9fe",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::",
    "2001:0:a9fe:a9fe::",
    "2001:0:808:808::5601:5601",  # Teredo: the client is written the other way round
    "2606:4700::5efe:a9fe:a9fe",
)
EVERYTHING = networks_of(("0.0.0.0/0", "::/0"))


def refused(address: str, rules: Rules, port: int = 80) -> str | None:
    return rules.refusal(ip_address(address), port)


def test_a_public_address_may_be_sent_to() -> None:
    for address in PUBLIC:
        assert refused(address, Rules()) is None, address


def test_an_address_that_is_not_public_is_refused_unless_its_network_is_allowed() -> None:
    for address in PRIVATE:
        assert refused(address, Rules()) is not None, address
        assert refused(address, Rules(EVERYTHING)) is None, address


def test_what_is_link_local_or_no_single_host_is_refused_whatever_is_allowed() -> None:
    for address in NEVER:
        assert refused(address, Rules()) is not None, address
        assert refused(address, Rules(EVERYTHING)) == "a link-local address, or one that is no single host's", address


def test_a_network_that_is_allowed_is_allowed_and_no_other() -> None:
    for address, networks, allowed in (
        ("10.1.2.3", ("10.1.0.0/16",), True),
        ("10.2.2.3", ("10.1.0.0/16",), False),
        ("10.2.2.3", ("10.1.0.0/16", "10.2.0.0/16"), True),
        ("::ffff:10.1.2.3", ("10.1.0.0/16",), True),
        ("::ffff:10.2.2.3", ("10.1.0.0/16",), False),
        ("2002:a01:203::1", ("10.1.0.0/16",), True),
        ("::1", ("127.0.0.0/8",), False),
        ("::1", ("::1/128",), True),
        ("fd12::1", ("fd12::/16",), True),
        ("fd13::1", ("fd12::/16",), False),
    ):
        assert (refused(address, Rules(networks_of(networks))) is None) is allowed, address


def test_the_runtime_of_the_function_is_refused_whatever_is_allowed() -> None:
    for runtime, address, port, allowed in (
        ("127.0.0.1:9001", "127.0.0.1", 9001, False),
        ("127.0.0.1:9001", "127.0.0.2", 9001, False),
        ("127.0.0.1:9001", "::ffff:127.0.0.1", 9001, False),
        ("127.0.0.1:9001", "::1", 9001, False),
        ("127.0.0.1:9001", "127.0.0.1", 9000, True),
        ("127.0.0.1:9001", "10.0.0.1", 9001, True),
        ("10.0.0.1:9001", "10.0.0.1", 9001, False),
        ("localhost:9001", "127.0.0.1", 9001, False),
        ("[::1]:9001", "127.0.0.1", 9001, False),
        ("", "127.0.0.1", 9001, True),
    ):
        assert (refused(address, Rules(EVERYTHING, runtime_of(runtime)), port) is None) is allowed, runtime


def test_a_host_is_refused_by_the_address_that_the_system_makes_of_it_however_it_is_written() -> None:
    for host in (
        "127.1",
        "0",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "017700000001",
        "0177.0.0.1",
        "127.0.0.1.",
        "localhost",
    ):
        url = parse_url(f"http://{host}:9/")
        with pytest.raises(NotAllowed, match=r"leads to (an address that is not public|a link-local)"):
            outbound.send(outbound.Request("POST", url, {}, None), lambda: 5.0, Way(Rules(), system_resolve, trusted()))


@pytest.mark.parametrize("others", [("8.8.8.8", "10.0.0.1"), ("10.0.0.1", "8.8.8.8"), ("8.8.8.8", "fe80::1%2")])
def test_a_host_with_one_address_that_is_refused_is_refused(others: tuple[str, ...]) -> None:
    with pytest.raises(NotAllowed, match=r"^https://example\.com leads to "):
        sent("https://example.com/", way(lambda host, port: others, ()))


# URLs. ----------------------------------------------------------------------------------------------------------------


def test_a_url_is_taken_apart() -> None:
    for text, url, authority in (
        ("http://a.example", Url("http", "a.example", 80, "/"), "a.example"),
        ("https://A.Example/P?q=1#f", Url("https", "a.example", 443, "/P?q=1"), "a.example"),
        ("https://a.example:443/", Url("https", "a.example", 443, "/"), "a.example"),
        ("https://a.example:80/", Url("https", "a.example", 80, "/"), "a.example:80"),
        ("http://a.example:/", Url("http", "a.example", 80, "/"), "a.example"),
        ("http://a.example.:8080?x", Url("http", "a.example", 8080, "/?x"), "a.example:8080"),
        ("http://[2606::1]:8080/x", Url("http", "2606::1", 8080, "/x"), "[2606::1]:8080"),
        ("HTTP://a.example//b", Url("http", "a.example", 80, "//b"), "a.example"),
    ):
        assert parse_url(text) == url, text
        assert parse_url(text).authority == authority, text


def test_what_is_no_url_to_send_to_is_refused_without_being_repeated() -> None:
    for text in (
        "ftp://a.example/",
        "file:///etc/passwd",
        "a.example",
        "http:///path",
        "http://",
        "http://:80/",
        "http://a.example:0/",
        "http://a.example:x/",
        "http://a.example:70000/",
        f"http://ann:{SECRET}@a.example/",
        "http://ann@a.example/",
        "http://a.example\\@b.example/",
        "http://a.example%00.b.example/",
        "http://a.ex ample/",
        "http://a.example/a b",
        "http://a.example/\r\nX: y",
        "http://a.example/\n",
        "http://ä.example/",
        "http://[fe80::1%25lo]/",
        "http://[::1/",
        "http://[v1.x]/",
        "http://a,b/",
    ):
        with pytest.raises(NotAllowed) as error:
            parse_url(text)
        assert SECRET not in str(error.value), text


# Answers. -------------------------------------------------------------------------------------------------------------

URL = Url("https", "a.example", 443, f"/hook/{SECRET}?token={SECRET}")


def outcome(answer: Answer) -> JsonObject | str:
    """The result, or the error as it is stored."""
    try:
        return verdict(answer, URL, NOW)
    except RetryAfter as error:
        return f"{error_text(error)} in {error.seconds:g} s"
    except (PermanentError, NotNow) as error:
        return error_text(error)


TOLD = "https://a.example answered"
OUTCOMES: list[tuple[Answer, JsonObject | str]] = [
    *((Answer(status, 5), {"status": status, "bytes": 5}) for status in (200, 201, 202, 204, 299)),
    (Answer(202, 0, retry_after="9"), {"status": 202, "bytes": 0}),
    *((Answer(status, 5), f"NotNow: {TOLD} {status}") for status in (101, 199, 408, 425, 429, 500, 502, 503, 504, 599)),
    *((Answer(status, 5), f"NotAccepted: {TOLD} {status}") for status in (400, 401, 403, 404, 409, 410, 422, 499)),
    *((Answer(s, 5, retry_after="9"), f"RetryAfter: {TOLD} {s} in 9 s") for s in (429, 503, 500, 403, 413)),
    (Answer(429, 5, retry_after="soon"), f"NotNow: {TOLD} 429"),
    (Answer(404, 5, retry_after="soon"), f"NotAccepted: {TOLD} 404"),
    (Answer(304, 0), f"Redirected: {TOLD} 304; redirects are not followed"),
]
POINTED = [
    ("https://b.example/x?t=" + SECRET, "https://b.example/x"),
    (f"https://ann:{SECRET}@b.example/x", "https://b.example/x"),
    ("http://169.254.169.254/latest/meta-data/", "http://169.254.169.254/latest/meta-data/"),
    ("//b.example:81/x", "https://b.example:81/x"),
    ("/login#" + SECRET, "https://a.example/login"),
    (f"/hook/{SECRET}/", "https://a.example/…"),
    (f"http://a.example/hook/{SECRET}", "http://a.example/…"),
    ("http://[::1/", "somewhere that cannot be read"),
    ("/\x1b[2J", "https://a.example/?[2J"),
]


def test_an_answer_decides_how_the_attempt_ends() -> None:
    for given, expected in OUTCOMES:
        assert outcome(given) == expected, given


def test_a_redirect_ends_the_task_and_tells_where_it_led_but_no_secret() -> None:
    for status in (
        301,
        302,
        303,
        307,
        308,
    ):
        for location, told in POINTED:
            expected = f"Redirected: {TOLD} {status}, to {told}; redirects are not followed"
            assert outcome(Answer(status, 0, retry_after="9", location=location)) == expected, (status, location)


def test_the_longest_location_leaves_room_for_the_rest_of_the_error() -> None:
    told = outcome(Answer(302, 0, location="https://b.example/" + "x" * 5000))
    assert str(told).endswith("; redirects are not followed")


def test_retry_after_is_seconds_or_a_date() -> None:
    for text, seconds in (
        (None, None),
        ("", None),
        ("0", 0),
        ("7", 7),
        (" 120 ", 120),
        ("0007", 7),
        (str(MAX_WAIT_SECONDS + 1), MAX_WAIT_SECONDS),
        ("9" * 6000, MAX_WAIT_SECONDS),
        ("-5", None),
        ("1.5", None),
        ("1e3", None),
        ("٣", None),
        ("²", None),
        ("soon", None),
        ("Mon, 21 Sep 2026 14:13:30 GMT", 10),
        ("Mon, 21 Sep 2026 15:13:30 +0100", 10),
        ("Monday, 21-Sep-26 14:13:30 GMT", 10),  # RFC 850, as RFC 9110 still lets it be sent
        ("Mon Sep 21 14:13:30 2026", 10),  # asctime
        ("Mon, 21 Sep 2026 14:13:10 GMT", 0),  # over
        ("Mon, 21 Sep 2099 14:13:30 GMT", MAX_WAIT_SECONDS),
        ("Mon, 31 Feb 2026 14:13:30 GMT", None),
        ("Mon, 21 Sep 99999 14:13:30 GMT", None),
        ("Mon, 21 Sep 2026 99:13:30 GMT", None),
        ("21", 21),
    ):
        assert wait_seconds(text, NOW) == seconds, text


def test_a_date_without_a_zone_is_in_gmt_wherever_this_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        monkeypatch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        assert wait_seconds("Mon Sep 21 14:13:30 2026", NOW) == 10
    finally:
        monkeypatch.undo()
        time.tzset()


# The payload. ---------------------------------------------------------------------------------------------------------


def payload_error(payload: JsonObject) -> str | None:
    found = kinds.load(kinds_package).get("webhook")
    assert found is not None
    return found.payload_error(payload)


OK = {"url": "https://a.example/x?y=1"}
BODIES_OF_JSON: list[Any] = [None, 1, "text", [], {"a": [1, {}]}, False]


def test_a_payload_is_taken() -> None:
    for payload in (
        OK,
        {"url": "http://[2606::1]:80/a@b?c@d#e@f"},
        *({**OK, "method": method} for method in ("POST", "PUT", "PATCH")),
        *({**OK, "body": body} for body in BODIES_OF_JSON),
        {**OK, "headers": {"X-Api-Key": "k", "Authorization": "Bearer a.b=", "content-type": "text/plain", "x": ""}},
        {**OK, "headers": {"Hostess": "x", "X-Host": "x"}},
        {**OK, "timeoutSeconds": 20},
        {**OK, "timeoutSeconds": 0.5},
    ):
        assert payload_error(payload) is None, payload


def test_a_payload_that_is_not_taken_is_told_by_its_field() -> None:
    payloads: tuple[tuple[JsonObject, str], ...] = (
        ({}, "payload must contain"),
        *(
            ({"url": url}, "payload.url must")
            for url in (
                1,
                "",
                "ftp://a.example/",
                "//a.example",
                "https://",
                "https://ann:x@a.example/",
                "https://@a.example/",
                "https://a.example\\@b",
                "https://a.example/\n",
                "https://a.example/ä",
                "https://a.example/" + "x" * 2048,
            )
        ),
        ({**OK, "method": "GET"}, "payload.method must"),
        ({**OK, "method": "post"}, "payload.method must"),
        *(
            ({**OK, "headers": {name: "x"}}, "payload.headers must not contain")
            for name in (
                "Host",
                "hOST",
                "Content-Length",
                "Transfer-Encoding",
                "Connection",
                "Keep-Alive",
                "TE",
                "Trailer",
                "Upgrade",
                "Expect",
                "Proxy-Authorization",
                "User-Agent",
                "Idempotency-Key",
                "X-Task-Attempt",
                "Accept-Encoding",
                "",
                "a b",
                "a:",
                "x\n",
                "host\n",
                "ä",
                "x" * 65,
            )
        ),
        *(
            ({**OK, "headers": {"X": value}}, "payload.headers.X must")
            for value in (1, "a\r\nb: c", "a\n", " a", "a ", "ä", "\x00", "x" * 1025)
        ),
        ({**OK, "headers": {f"x{n}": "" for n in range(21)}}, "payload.headers must"),
        *(({**OK, "timeoutSeconds": seconds}, "payload.timeoutSeconds must") for seconds in (0, -1, 20.5, "5")),
        ({**OK, "verify": False}, "payload must not contain"),
    )
    for payload, field in payloads:
        assert (payload_error(payload) or "").startswith(field), payload


# A receiver. ----------------------------------------------------------------------------------------------------------


def trusted(file: Path | None = None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(file) if file else None)


def at_loopback(host: str, port: int) -> list[str]:
    """Whatever the name, as a name server would say it."""
    return ["127.0.0.1"]


def way(
    resolve: outbound.Resolve = at_loopback, networks: tuple[Any, ...] = HERE, trust: ssl.SSLContext | None = None
) -> Way:
    return Way(Rules(networks), resolve, trust or trusted())


def sent(url: str, through: Way, attempt: int = 1, left: float = 20.0, **payload: Any) -> JsonObject:
    work = Work("task-1", {"url": url, **payload}, attempt, 1, lambda: left)
    return webhook.deliver(work, through, time.monotonic, lambda: NOW)


def test_a_delivery_brings_body_and_headers_to_the_address_under_the_name_of_the_url() -> None:
    with receiving(answer(200, body=b"thanks")) as receiver:
        result = sent(
            f"http://hooks.example:{receiver.port}/in?x=1#y",
            way(),
            attempt=2,
            method="PUT",
            headers={"x-api-key": SECRET, "CONTENT-TYPE": "application/cloudevents+json"},
            body={"order": ["ä", 1]},
        )

    assert result == {"status": 200, "bytes": 6}
    (request,) = receiver.requests
    assert request.line == "PUT /in?x=1 HTTP/1.1"
    assert json.loads(request.body) == {"order": ["ä", 1]}
    assert request.headers == {
        "host": f"hooks.example:{receiver.port}",
        "content-type": "application/cloudevents+json",
        "content-length": str(len(request.body)),
        "accept-encoding": "identity",
        "connection": "close",
        "user-agent": "task-processing-webhook/1",
        "idempotency-key": "task-1",
        "x-task-attempt": "2",
        "x-api-key": SECRET,
    }


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://a.example/", b"a.example"),
        ("http://[2606::1]/", b"[2606::1]"),
        ("http://a.example:81", b"a.example:81"),
    ],
)
def test_the_host_header_names_a_port_only_where_the_scheme_does_not(url: str, host: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"HTTP/1.1 204 Any\r\n\r\n")
        outbound._exchange(outbound.Request("POST", parse_url(url), {}, None), ours, lambda: 20.0, threading.Event())
        assert b"\r\nHost: " + host + b"\r\n" in theirs.recv(4096)


@pytest.mark.parametrize(
    ("payload", "length", "kind"), [({}, "0", None), ({"body": None}, "4", "application/json")], ids=["none", "null"]
)
def test_a_delivery_without_a_body_has_none_and_one_of_null_has_that(
    payload: JsonObject, length: str, kind: str | None
) -> None:
    with receiving(answer(204)) as receiver:
        assert sent(f"http://hooks.example:{receiver.port}", way(), **payload) == {"status": 204, "bytes": 0}

    (request,) = receiver.requests
    assert (request.line, request.headers["content-length"]) == ("POST / HTTP/1.1", length)
    assert request.headers.get("content-type") == kind


def test_after_a_lost_answer_the_next_attempt_has_the_same_idempotency_key() -> None:
    with receiving(reset, answer(200)) as receiver:
        url = f"http://hooks.example:{receiver.port}/"
        with pytest.raises(NoAnswer):
            sent(url, way(), attempt=1, body=1)
        assert sent(url, way(), attempt=2, body=1)["status"] == 200

    assert [request.headers["idempotency-key"] for request in receiver.requests] == ["task-1", "task-1"]
    assert [request.headers["x-task-attempt"] for request in receiver.requests] == ["1", "2"]


def test_a_receiver_that_asks_for_a_pause_gets_it() -> None:
    with receiving(answer(429, "Retry-After: 7")) as receiver, pytest.raises(RetryAfter) as error:
        sent(f"http://hooks.example:{receiver.port}/", way())
    assert error.value.seconds == 7


def test_a_redirect_is_not_followed_wherever_it_leads() -> None:
    with receiving(answer(204)) as other:
        location = f"Location: http://hooks.example:{other.port}/latest?token={SECRET}"
        with receiving(answer(307, location)) as receiver, pytest.raises(Redirected) as error:
            sent(f"http://hooks.example:{receiver.port}/", way())

    assert f"to http://hooks.example:{other.port}/latest; redirects" in str(error.value)
    assert SECRET not in str(error.value)
    assert (len(receiver.requests), other.requests) == (1, [])


def test_of_a_huge_answer_only_the_beginning_is_read() -> None:
    sizes: list[int] = []

    def flood(_: Any, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        try:
            while True:
                sizes.append(connection.send(b"x" * 65536))
        finally:
            sizes.append(0)

    with receiving(flood) as receiver:
        assert sent(f"http://hooks.example:{receiver.port}/", way()) == {"status": 200, "bytes": 65536}
    assert sizes[-1] == 0, "the sender never let go"
    assert sum(sizes) < 100_000_000  # what the buffers of the two sockets take, far from what was announced


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BODIES: dict[str, tuple[Act, int]] = {
    "as long as announced": (answer(200, body=b"x" * 40_000), 40_000),
    "in chunks": (say(CHUNKED + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"), 5),
    "until the end of the connection": (say(b"HTTP/1.0 200 OK\r\n\r\n12345678"), 8),
    "no gzip, though it says so": (answer(200, "Content-Encoding: gzip", body=b"no gzip"), 7),
    "after an interim answer": (say(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), 2),
}


@pytest.mark.parametrize(("act", "size"), BODIES.values(), ids=BODIES)
def test_the_bytes_of_an_answer_are_counted_as_they_came(act: Act, size: int) -> None:
    with receiving(act) as receiver:
        assert sent(f"http://hooks.example:{receiver.port}/", way()) == {"status": 200, "bytes": size}


NEVER_ENDING = (
    say(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1"),
    say(CHUNKED + b"zz\r\n"),
    drip(CHUNKED),
    drip(b"HTTP/1.1 200 OK\r\n\r\n"),
)
"""Cut off; broken chunks; a byte now and then, in a chunk and without one."""


def test_a_success_whose_body_never_ends_well_is_a_success() -> None:
    """The receiver has the delivery and has said so: another attempt would only repeat it."""

    def deliver(act: Act) -> JsonObject:
        with receiving(act) as receiver:
            return sent(f"http://hooks.example:{receiver.port}/", way(), timeoutSeconds=2)

    with ThreadPoolExecutor(len(NEVER_ENDING)) as pool:
        assert [result["status"] for result in pool.map(deliver, NEVER_ENDING)] == [200] * 4


SLOW: dict[str, Act] = {
    "no answer at all": hang,
    "a status line, byte by byte": drip(b"HTTP/1.1 200 "),
    "headers, byte by byte": drip(b"HTTP/1.1 200 OK\r\nX: "),
    "headers without end": drip(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
    "interim answers without end": drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("tls"), "hooks.example")


def test_a_slow_receiver_holds_the_worker_for_as_long_as_the_attempt_may_take(pem: Path) -> None:
    plain, secured = way(), way(trust=trusted(pem))
    slow = [
        *(partial(held, plain, act, seconds=2) for act in SLOW.values()),
        *(partial(held, plain, act, left=2 + webhook.KEPT_SECONDS) for act in SLOW.values()),
        partial(held, secured, drip(b"HTTP/1.1 200 OK\r\nX: "), seconds=3, scheme="https", tls=server_side(pem)),
        partial(held, plain, hang, seconds=2, scheme="https", silent=True),
    ]
    with ThreadPoolExecutor(len(slow)) as pool:
        for waiting in [pool.submit(case) for case in slow]:
            waiting.result()


def held(through: Way, act: Act, left: float = 20, seconds: float = 20, scheme: str = "http", **how: Any) -> None:
    """A delivery that ends after its own seconds, or those that are left of its attempt, and lets its line go."""
    with receiving(act, **how) as receiver:
        begun = time.monotonic()
        url = f"{scheme}://hooks.example:{receiver.port}/?{SECRET}"
        work = Work("t", {"url": url, "timeoutSeconds": seconds}, 1, 1, lambda: begun + left - time.monotonic())
        with pytest.raises(NoAnswer, match=rf"^{scheme}://hooks\.example:\d+: no answer in time$"):
            webhook.deliver(work, through, time.monotonic, lambda: NOW)
        # Without a limit for all of it, this would only end with the receiver, which waits for the test.
        for _ in range(receiver.accepted):
            assert receiver.released.acquire(timeout=60), "the connection is still held"
    assert time.monotonic() - begun >= 1.9


def test_a_name_server_that_hangs_does_not_hold_the_worker() -> None:
    asked, over = threading.Event(), threading.Event()

    def never(host: str, port: int) -> list[str]:
        asked.set()
        over.wait()
        return ["127.0.0.1"]

    try:
        with pytest.raises(NoAnswer, match=r"^http://hooks\.example: no answer in time$"):
            sent("http://hooks.example/", way(never), timeoutSeconds=0.2)
        assert asked.wait(60)
    finally:
        over.set()


def test_no_time_left_is_no_answer_and_no_request() -> None:
    with receiving(answer(200)) as receiver, pytest.raises(NoAnswer, match="no answer in time"):
        sent(f"http://hooks.example:{receiver.port}/", way(), left=webhook.KEPT_SECONDS)
    assert receiver.requests == []


BROKEN: dict[str, Act] = {
    "a reset": reset,
    "the end": say(b""),
    "no HTTP": say(f"{SECRET}\r\n\r\n".encode()),
    "no number": say(f"HTTP/1.1 {SECRET}\r\n\r\n".encode()),
    "too many headers": say(b"HTTP/1.1 200 OK\r\n" + f"{SECRET}: x\r\n".encode() * 200 + b"\r\n"),
    "an endless header": say(b"HTTP/1.1 200 OK\r\nX: " + SECRET.encode() * 20_000 + b"\r\n\r\n"),
}


@pytest.mark.parametrize("act", BROKEN.values(), ids=BROKEN)
def test_what_is_no_answer_may_be_one_next_time_and_no_secret_is_told(act: Act) -> None:
    headers = {"Authorization": SECRET}
    with receiving(act) as receiver, pytest.raises(NoAnswer) as error:
        sent(f"http://hooks.example:{receiver.port}/{SECRET}?{SECRET}", way(), headers=headers, body=SECRET)
    assert SECRET not in str(error.value)
    assert str(error.value).startswith(f"http://hooks.example:{receiver.port}: ")
    assert len(receiver.requests) == 1, "sent again behind the back of the attempt"


def test_where_nobody_listens_there_may_be_somebody_next_time() -> None:
    with receiving(answer(200)) as receiver:
        port = receiver.port
    with pytest.raises(NoAnswer, match=rf"^http://hooks\.example:{port}: Connection refused$"):
        sent(f"http://hooks.example:{port}/", way())


def test_a_name_that_is_not_known_may_be_known_next_time() -> None:
    def unknown(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.raises(NoAnswer, match=r"^http://hooks\.example: Name or service not known$"):
        sent("http://hooks.example/", way(unknown))
    with pytest.raises(NoAnswer, match="no address"):
        sent("http://hooks.example/", way(lambda host, port: []))


def test_a_name_that_can_be_none_is_refused_for_good() -> None:
    with pytest.raises(NotAllowed, match="the host of the URL is no name"):
        sent(f"http://{'a' * 64}.example/", way(system_resolve))


def test_the_next_address_is_tried_when_nobody_listens_at_the_first() -> None:
    with receiving(answer(200)) as receiver:
        through = way(lambda host, port: ["127.0.0.9", "127.0.0.1"])
        assert sent(f"http://hooks.example:{receiver.port}/", through)["status"] == 200


def test_a_name_is_looked_up_once_and_that_address_is_connected_to() -> None:
    """DNS rebinding: a second look would find another address than the one that was checked."""
    found = iter([["127.0.0.1"], ["169.254.169.254"]])
    with receiving(answer(200)) as receiver:
        through = way(lambda host, port: next(found))
        assert sent(f"http://rebinding.invalid:{receiver.port}/", through)["status"] == 200
    assert next(found) == ["169.254.169.254"]


def test_no_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving(answer(500)) as proxy, receiving(answer(200)) as receiver:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            for variable in (name, name.upper()):
                monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.port}")
        assert sent(f"http://hooks.example:{receiver.port}/", way())["status"] == 200
    assert proxy.requests == []


# TLS. -----------------------------------------------------------------------------------------------------------------


def test_the_certificate_is_checked_for_the_name_of_the_url_at_the_address_that_was_checked(pem: Path) -> None:
    names: list[str | None] = []
    serving = server_side(pem)
    serving.sni_callback = lambda connection, name, context: names.append(name)
    with receiving(answer(200, body=b"ok"), tls=serving) as receiver:
        result = sent(f"https://hooks.example:{receiver.port}/", way(trust=trusted(pem)))

    assert result == {"status": 200, "bytes": 2}
    assert names == ["hooks.example"]
    assert receiver.requests[0].headers["host"] == f"hooks.example:{receiver.port}"


DISTRUSTED: dict[str, tuple[str, Callable[[Path], ssl.SSLContext], str]] = {
    "nobody we trust signed it": ("hooks.example", lambda pem: trusted(), "self-signed certificate"),
    "it is another's": ("other.example", trusted, "Hostname mismatch"),
    "it names no address": ("127.0.0.1", trusted, "IP address mismatch"),
}


@pytest.mark.parametrize(("host", "trust", "why"), DISTRUSTED.values(), ids=DISTRUSTED)
def test_a_certificate_that_is_not_the_receivers_ends_the_connection_before_anything_is_sent(
    host: str, trust: Callable[[Path], ssl.SSLContext], why: str, pem: Path
) -> None:
    with (
        receiving(answer(200), tls=server_side(pem)) as receiver,
        pytest.raises(NoAnswer, match=f"its certificate is not accepted: {why}"),
    ):
        sent(f"https://{host}:{receiver.port}/", way(trust=trust(pem)))
    assert receiver.requests == []


def test_plain_http_on_a_secured_url_is_no_answer() -> None:
    with (
        receiving(say(b"HTTP/1.1 200 OK\r\n\r\n"), silent=True) as receiver,
        pytest.raises(NoAnswer, match=r"^https://hooks\.example:"),
    ):
        sent(f"https://hooks.example:{receiver.port}/", way())


# The function's settings. ---------------------------------------------------------------------------------------------


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    webhook.way.cache_clear()
    yield monkeypatch
    webhook.way.cache_clear()


def test_the_function_allows_the_networks_of_its_setting_and_refuses_its_own_runtime(
    variables: pytest.MonkeyPatch,
) -> None:
    with receiving(answer(200)) as receiver, receiving(answer(202)) as runtime:
        variables.setenv("WEBHOOK_NETWORKS", "127.0.0.0/8,10.1.0.0/16")
        variables.setenv("AWS_LAMBDA_RUNTIME_API", f"127.0.0.1:{runtime.port}")

        def run(port: int) -> object:
            return webhook.run(Work("task-1", {"url": f"http://localhost:{port}/"}, 1, 1, lambda: 20.0))

        assert run(receiver.port) == {"status": 200, "bytes": 0}
        with pytest.raises(NotAllowed, match="leads to the runtime of the function itself"):
            run(runtime.port)
    assert runtime.requests == []
    assert webhook.way().rules.networks == networks_of(("127.0.0.0/8", "10.1.0.0/16"))


def test_without_a_setting_loopback_is_refused(variables: pytest.MonkeyPatch) -> None:
    variables.delenv("WEBHOOK_NETWORKS", raising=False)
    with receiving(answer(200)) as receiver, pytest.raises(NotAllowed, match="not public"):
        webhook.run(Work("task-1", {"url": f"http://localhost:{receiver.port}/"}, 1, 1, lambda: 20.0))
    assert receiver.requests == []


def test_a_setting_that_is_no_network_is_named(variables: pytest.MonkeyPatch) -> None:
    variables.setenv("WEBHOOK_NETWORKS", "10.1.0.1/16")
    with pytest.raises(SettingError, match=r"WEBHOOK_NETWORKS is '10\.1\.0\.1/16': .*host bits"):
        webhook.way()
