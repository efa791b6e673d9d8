"""Messages between processes: Python's values as JSON and back."""

import json
import math

import pytest
from zerrow import _native


def sent(body):
    ours, theirs = _native.Channel.make_pair()
    ours.send(body)
    return theirs.receive(timeout_ms=10_000)[0]


VALUES = [
    None, True, False, 0, -1, 2**63 - 1, -(2**63), 2**64 - 1, 1.5, -0.0, 1e300, "", "text", "\0",
    "ü\N{GRINNING FACE}", [], [1, [2, []]], {}, {"a": {"b": [None, "c"]}}, "x" * 100_000,
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:20])
def test_values_arrive_as_they_are(value):
    arrived = sent({"value": value})["value"]
    assert arrived == value
    assert type(arrived) is type(value)


def test_what_json_does_not_have():
    assert sent([math.nan, math.inf, 10**400, (1, 2)]) == [None, None, None, [1, 2]]
    assert sent(2**70) == float(2**70)


def test_lone_surrogates_are_seen():
    assert sent({"caf\udce9": ["\ud800x"]}) == {"caf\\udce9": ["\\ud800x"]}


def nested(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


def test_depth_is_limited():
    assert sent(nested(60)) == nested(60)
    with pytest.raises(ValueError, match="nested too deep"):
        sent(nested(100))
    circle = []
    circle.append(circle)
    with pytest.raises(ValueError, match="nested too deep"):
        sent(circle)


@pytest.mark.parametrize("value", [object(), {1: 2}, b"bytes", {1, 2}])
def test_other_objects_are_refused(value):
    with pytest.raises(TypeError):
        sent(value)


class Loud(str):
    def __str__(self):
        raise RuntimeError

    encode = __len__ = __iter__ = __str__


class Crowd(dict):
    def items(self):
        raise RuntimeError

    __iter__ = keys = __getitem__ = items


def test_no_method_of_a_value_is_called(monkeypatch):
    monkeypatch.setattr(json, "dumps", None)
    monkeypatch.setattr(json, "loads", None)
    assert sent(Crowd(a=Loud("b"))) == {"a": "b"}
