"""What a client may post, and what it hears when it may not."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdas.common.http import HttpError
from lambdas.common.kinds import JsonObject, Registry, Work
from lambdas.submit_task.request import MAX_BODY_BYTES, MAX_DEPTH, MAX_PAYLOAD_BYTES, Submission, parse
from tests.support.tasks import NOW, SECOND

YEAR = 365 * 86_400
REGISTRY = Registry()


@REGISTRY.kind("simulated", schema={"type": "object"})
def simulated(work: Work) -> None:
    """Takes any payload."""


@REGISTRY.kind(
    "strict",
    schema={
        "type": "object",
        "required": ["to"],
        "additionalProperties": False,
        "properties": {"to": {"type": "string"}, "part": {"type": "number", "minimum": 0, "maximum": 1}},
    },
)
def strict(work: Work) -> JsonObject:
    return {}


def nested(depth: int) -> str:
    """A body of `depth` levels, its own object included."""
    return '{"payload": ' + '{"a": ' * (depth - 1) + "1" + "}" * depth


def with_value(text: str) -> str:
    """A body with this JSON text in its payload."""
    return f'{{"payload": {{"x": {text}}}}}'


BAD: dict[str, tuple[str, int, str]] = {
    "nothing": ("", 400, "empty"),
    "only space": (" \n", 400, "empty"),
    "malformed JSON": ('{"payload": {', 400, "not JSON"),
    "two documents": ('{"payload": {}} {}', 400, "not JSON"),
    "a trailing comma": ('{"payload": {},}', 400, "not JSON"),
    "no JSON at all": ("payload", 400, "not JSON"),
    "a byte order mark": ('\ufeff{"payload": {}}', 400, "not JSON"),
    "an array": ("[]", 400, "must be a JSON object"),
    "a text": ('"payload"', 400, "must be a JSON object"),
    "null": ("null", 400, "must be a JSON object"),
    "no payload": ("{}", 400, "payload is required"),
    "payload null": ('{"payload": null}', 400, "payload is required"),
    "payload a text": ('{"payload": "text"}', 400, "payload is required"),
    "payload an array": ('{"payload": []}', 400, "payload is required"),
    "an unknown field": ('{"payload": {}, "extra": 1}', 400, "Unknown field 'extra'"),
    "a field in other letters": ('{"payload": {}, "taskid": "a"}', 400, "Unknown field 'taskid'"),
    "taskId empty": ('{"payload": {}, "taskId": ""}', 400, "taskId must be"),
    "taskId null": ('{"payload": {}, "taskId": null}', 400, "taskId must be"),
    "taskId a number": ('{"payload": {}, "taskId": 5}', 400, "taskId must be"),
    "taskId an array": ('{"payload": {}, "taskId": ["a"]}', 400, "taskId must be"),
    "taskId too long": (f'{{"payload": {{}}, "taskId": "{"a" * 129}"}}', 400, "taskId must be"),
    "taskId with a space": ('{"payload": {}, "taskId": "a b"}', 400, "taskId must be"),
    "taskId with a slash": ('{"payload": {}, "taskId": "a/b"}', 400, "taskId must be"),
    "taskId with a hash": ('{"payload": {}, "taskId": "a#b"}', 400, "taskId must be"),
    "taskId with a line end": ('{"payload": {}, "taskId": "a\\n"}', 400, "taskId must be"),
    "taskId with an umlaut": ('{"payload": {}, "taskId": "ä"}', 400, "taskId must be"),
    "taskId with a foreign digit": ('{"payload": {}, "taskId": "\u0663"}', 400, "taskId must be"),
    "kind unknown": ('{"payload": {}, "kind": "other"}', 400, "kind must be one of: simulated, strict"),
    "kind null": ('{"payload": {}, "kind": null}', 400, "kind must be one of"),
    "kind a number": ('{"payload": {}, "kind": 1}', 400, "kind must be one of"),
    "kind an object": ('{"payload": {}, "kind": {}}', 400, "kind must be one of"),
    "a payload its kind does not take": ('{"kind": "strict", "payload": {}}', 400, "payload must contain ['to']"),
    "a field its kind does not know": ('{"kind": "strict", "payload": {"to": "a", "x": 1}}', 400, "(kind strict)"),
    "a field of the wrong type": ('{"kind": "strict", "payload": {"to": 1}}', 400, "payload.to must be string"),
    "a number its kind does not take": (
        '{"kind": "strict", "payload": {"to": "a", "part": 1.01}}',
        400,
        "payload.part",
    ),
    "too long": (json.dumps({"payload": {"x": "x" * MAX_BODY_BYTES}}), 413, f"{MAX_BODY_BYTES} bytes"),
    "a payload too long": (json.dumps({"payload": {"x": "x" * (MAX_PAYLOAD_BYTES - 8)}}), 413, "262144 bytes"),
    "NaN": ('{"payload": {"x": NaN}}', 400, "NaN is not a JSON number"),
    "Infinity": ('{"payload": {"x": Infinity}}', 400, "Infinity is not a JSON number"),
    "-Infinity": ('{"payload": {"x": [-Infinity]}}', 400, "-Infinity is not a JSON number"),
    "a number out of range": ('{"payload": {"x": 1e999}}', 400, "out of range"),
    "a number whose exponent alone is out of range": ('{"payload": {"x": 0e9999999999999999999}}', 400, "out of range"),
    "a negative number out of range": ('{"payload": {"x": -1e999}}', 400, "out of range"),
    "a number of more digits than Python reads": ('{"payload": {"x": %s}}' % ("1" * 5000), 400, "not JSON"),
    "half a surrogate pair": ('{"payload": {"x": "\\ud800"}}', 400, "surrogate"),
    "half a surrogate pair in a name": ('{"payload": {"\\udfff": 1}}', 400, "surrogate"),
    "half a surrogate pair as it is": ('{"payload": {"x": "\ud800"}}', 400, "surrogate"),
    "nested 33 levels": (nested(MAX_DEPTH + 1), 400, "more than 32 levels"),
    "nested 33 levels of arrays": ('{"payload": {"a": ' + "[" * 31 + "]" * 31 + "}}", 400, "more than 32 levels"),
    "nested 100,000 levels": ("[" * 100_000, 400, "more than 32 levels"),
    "runAt and delaySeconds": ('{"payload": {}, "runAt": "2026-01-01T00:00:00Z", "delaySeconds": 1}', 400, "not both"),
    "delaySeconds a text": ('{"payload": {}, "delaySeconds": "1"}', 400, "delaySeconds must be"),
    "delaySeconds null": ('{"payload": {}, "delaySeconds": null}', 400, "delaySeconds must be"),
    "delaySeconds true": ('{"payload": {}, "delaySeconds": true}', 400, "delaySeconds must be"),
    "delaySeconds negative": ('{"payload": {}, "delaySeconds": -0.001}', 400, "delaySeconds must be"),
    "delaySeconds over a year": (f'{{"payload": {{}}, "delaySeconds": {YEAR + 1}}}', 400, "delaySeconds must be"),
    "runAt a number": ('{"payload": {}, "runAt": 1700000000}', 400, "time with offset"),
    "runAt null": ('{"payload": {}, "runAt": null}', 400, "time with offset"),
    "runAt no time": ('{"payload": {}, "runAt": "soon"}', 400, "time with offset"),
    "runAt without an offset": ('{"payload": {}, "runAt": "2026-11-24T12:00:00"}', 400, "time with offset"),
    "runAt on a day that is none": ('{"payload": {}, "runAt": "2026-02-30T12:00:00Z"}', 400, "time with offset"),
    "runAt before 1970": ('{"payload": {}, "runAt": "1969-12-31T23:59:59Z"}', 400, "365 days"),
    "runAt in the year 1": ('{"payload": {}, "runAt": "0001-01-01T00:00:00+14:00"}', 400, "365 days"),
    "runAt in the year 9999": ('{"payload": {}, "runAt": "9999-12-31T23:59:59-14:00"}', 400, "365 days"),
}


def read(body: str) -> Submission:
    return parse(body, REGISTRY, NOW)


def test_a_bad_request_is_refused_with_words_that_name_what_is_wrong() -> None:
    for body, status, words in BAD.values():
        with pytest.raises(HttpError) as error:
            read(body)
        assert error.value.status == status, body
        assert words in error.value.message, body
        assert len(error.value.message) < 500, body


def test_a_time_a_year_ahead_is_taken_and_a_millisecond_more_is_not() -> None:
    in_a_year = datetime.fromtimestamp(NOW / 1000, UTC) + timedelta(days=365)
    assert read(json.dumps({"payload": {}, "runAt": in_a_year.isoformat()})).run_at == NOW + YEAR * SECOND
    with pytest.raises(HttpError, match="365 days"):
        read(json.dumps({"payload": {}, "runAt": (in_a_year + timedelta(milliseconds=1)).isoformat()}))


def test_a_payload_of_just_the_largest_size_is_taken_and_one_byte_more_is_not() -> None:
    largest = '{"x": "%s"}' % ("x" * (MAX_PAYLOAD_BYTES - len('{"x": ""}')))
    assert len(largest) == MAX_PAYLOAD_BYTES
    assert read('{"payload": %s}' % largest).payload == largest
    with pytest.raises(HttpError) as error:
        read('{"payload": %s}' % largest.replace("x", "xx", 1))
    assert error.value.status == 413


def test_a_body_of_just_the_largest_size_is_taken_and_one_byte_more_is_not() -> None:
    body = '{"payload": {}}'
    largest = body + " " * (MAX_BODY_BYTES - len(body))
    assert read(largest).payload == "{}"
    with pytest.raises(HttpError) as error:
        read(largest + " ")
    assert error.value.status == 413


def test_the_size_of_a_body_is_counted_in_bytes() -> None:
    with pytest.raises(HttpError) as error:
        read('{"payload": {"x": "%s"}}' % ("ä" * (MAX_BODY_BYTES // 2)))
    assert error.value.status == 413


def test_a_body_of_32_levels_is_taken() -> None:
    assert read('{"payload": {"a": [' + "{}, " * MAX_DEPTH + "[]]}}").payload.endswith("[]]}"), "side by side"
    assert read(nested(MAX_DEPTH)).payload.startswith('{"a": {')


def test_an_id_of_the_allowed_characters_is_taken() -> None:
    for task_id in (
        "a",
        "a" * 128,
        "Az09._:-",
        "...",
        "-",
    ):
        assert read(json.dumps({"payload": {}, "taskId": task_id})).task_id == task_id, task_id


@pytest.mark.parametrize("task_id", ["batch", ".", ".."])
def test_an_id_that_would_be_another_path_is_refused(task_id: str) -> None:
    with pytest.raises(HttpError, match="is the path of something else"):
        read(json.dumps({"payload": {}, "taskId": task_id}))


def test_a_body_with_a_payload_alone_is_a_simulated_task_without_id_that_runs_at_once() -> None:
    submission = read('{"payload": {}}')
    assert (submission.task_id, submission.kind, submission.payload, submission.run_at) == (
        None,
        "simulated",
        "{}",
        None,
    )


def test_a_time_to_run_is_read_to_the_millisecond() -> None:
    for field, due in (
        ('"delaySeconds": 0', NOW),
        ('"delaySeconds": 1.5', NOW + 1_500),
        ('"delaySeconds": 0.0001', NOW + 1),
        (f'"delaySeconds": {YEAR}', NOW + YEAR * SECOND),
        ('"runAt": "2026-11-24T12:00:00Z"', 1_795_521_600_000),
        ('"runAt": "2026-11-24T14:00:00.250+02:00"', 1_795_521_600_250),
        ('"runAt": "1970-01-01T00:00:00Z"', 0),
    ):
        assert read(f'{{"payload": {{}}, {field}}}').run_at == due, field


def test_the_payload_is_kept_byte_for_byte() -> None:
    for body in (
        '{"payload":%s}',
        ' {\n"taskId" : "a", "payload"\t:  %s , "delaySeconds":1}\r\n',
    ):
        for payload in (
            "{}",
            '{ "a" :1 ,\n"b":[ ] }',
            '{"n": 123456789012345678901234567890123456789012345678901234567890}',
            '{"n": 0.123456789012345678901234567890123456789012345678901234567890}',
            '{"n": 1.0, "m": 1e2, "o": -0, "p": 1E-400}',
            '{"t": "\\u00e4\\/ä\U0001f600\\ud83d\\ude00"}',
            '{"a": 1, "a": 2}',
            '{"payload": {"payload": "}"}}',
            '{"kind": "\\"payload\\": {}"}',
        ):
            assert read(body % payload).payload == payload, (body, payload)


def test_of_a_member_given_twice_the_last_counts_in_the_text_as_in_the_check() -> None:
    assert read('{"payload": {"first": 1}, "payload": {"last": 1}}').payload == '{"last": 1}'


SAME = {
    "spacing": '{"payload":{"a":1,"b":[1,2.5]},"kind":"simulated"}',
    "order": '{"kind": "simulated", "payload": {"b": [1, 2.5], "a": 1}}',
    "the kind that is meant anyway": '{"payload": {"a": 1, "b": [1, 2.5]}}',
    "the id": '{"taskId": "another", "payload": {"a": 1, "b": [1, 2.5]}}',
    "the way a character is written": '{"payload": {"\\u0061": 1, "b": [1, 2.5]}}',
}
DIFFERENT = {
    "a value": '{"payload": {"a": 2, "b": [1, 2.5]}}',
    "a type": '{"payload": {"a": "1", "b": [1, 2.5]}}',
    "a whole number and a part": '{"payload": {"a": 1, "b": [1, 2.50000000000000000000000001]}}',
    "true for 1": '{"payload": {"a": true, "b": [1, 2.5]}}',
    "the order of a list": '{"payload": {"a": 1, "b": [2.5, 1]}}',
    "a further field": '{"payload": {"a": 1, "b": [1, 2.5], "c": null}}',
    "a delay": '{"payload": {"a": 1, "b": [1, 2.5]}, "delaySeconds": 1}',
    "a time": '{"payload": {"a": 1, "b": [1, 2.5]}, "runAt": "2026-11-24T12:00:00Z"}',
    "the kind": '{"payload": {"to": "a"}, "kind": "strict"}',
}
BODY = '{"payload": {"a": 1, "b": [1, 2.5]}, "kind": "simulated"}'


def test_the_hash_of_a_body_does_not_depend_on_what_means_nothing() -> None:
    for body in SAME.values():
        assert read(body).body_hash == read(BODY).body_hash, body


def test_the_hash_of_a_body_depends_on_its_meaning() -> None:
    for body in DIFFERENT.values():
        assert read(body).body_hash != read(BODY).body_hash, body


@pytest.mark.parametrize(
    ("one", "other"), [("1.5", '["number", "1.5"]'), ("1.5", '"1.5"'), ("1.50", "1.5001"), ("1", "1.0")]
)
def test_a_number_has_the_hash_of_no_other_value(one: str, other: str) -> None:
    first, second = (read(with_value(text)) for text in (one, other))
    assert first.body_hash != second.body_hash


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,25})?", fullmatch=True)


def _only_http_errors(body: str) -> None:
    with contextlib.suppress(HttpError):
        read(body)


@given(st.text())
def test_no_text_raises_anything_but_an_http_error(text: str) -> None:
    _only_http_errors(text)


@given(st.text(alphabet='{}[]":, \\u0019d8eE+-.tfnaysklmopIdk'))
def test_no_almost_json_raises_anything_but_an_http_error(text: str) -> None:
    for body in (text, f'{{"payload": {text}}}', with_value(text)):
        _only_http_errors(body)


@given(JSON_VALUES)
def test_no_json_raises_anything_but_an_http_error(value: Any) -> None:
    for document in (value, {"payload": value}, {"payload": {}, "taskId": value}, {"payload": {}, "kind": value}):
        _only_http_errors(json.dumps(document))
    for name in ("delaySeconds", "runAt"):
        _only_http_errors(json.dumps({"payload": {}, name: value}))


@given(NUMBERS)
def test_no_number_raises_anything_but_an_http_error_and_a_good_one_is_kept(number: str) -> None:
    for body in ('{"payload": {"x": %s}}', '{"payload": {}, "delaySeconds": %s}', '{"payload": %s}'):
        _only_http_errors(body % number)
    with contextlib.suppress(HttpError):
        assert read(with_value(number)).payload == f'{{"x": {number}}}'


@given(st.dictionaries(st.text(), JSON_VALUES, max_size=4), st.booleans())
def test_a_payload_that_is_taken_is_kept_and_hashed_the_same_whatever_its_order_and_spacing(
    payload: dict[str, Any], ascii_only: bool
) -> None:
    text = json.dumps(payload, ensure_ascii=ascii_only)
    other = json.dumps(dict(reversed(payload.items())), indent=2)
    try:
        submission = read(f'{{"payload": {text}}}')
    except HttpError:
        return
    assert submission.payload == text
    assert read(f'{{"payload": {other}}}').body_hash == submission.body_hash
