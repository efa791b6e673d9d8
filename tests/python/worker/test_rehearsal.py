import os
import socket

import pytest
from zerrow import _native
from zerrow._worker import rehearsal


@pytest.fixture
def channel():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def opened(monkeypatch):
    """What is opened of what is published."""
    opened = []

    class Handover(_native.Handover):
        def open(self, *arguments):
            opened.append(super().open(*arguments))
            return opened[-1]

    monkeypatch.setattr(rehearsal._native, "Handover", Handover)
    return opened


def test_a_table_is_handed_over_and_nothing_stays(channel, opened):
    before = os.listdir("/proc/self/fd")
    rehearsal.rehearse(channel[0].fileno())
    assert [table.num_rows for table in opened] == [1]
    opened.clear()
    assert os.listdir("/proc/self/fd") == before


def test_a_task_that_is_there_comes_first(channel, opened):
    channel[1].send(b"task")
    rehearsal.rehearse(channel[0].fileno())
    assert opened == []


def test_what_fails_is_no_failure(channel, monkeypatch):
    monkeypatch.setattr(rehearsal._native, "Handover", None)
    rehearsal.rehearse(channel[0].fileno())
