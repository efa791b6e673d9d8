"""Functions that talk to the engine themselves: their model fails, and nothing else does."""

import json
import os
import subprocess
import sys
import textwrap

import pytest

# What a worker can do to its channel, the first descriptor from 1000 on;
# docs/formats/worker_protocol.md.
PEER = """
    import ctypes, fcntl, os, socket, struct

    channel = socket.socket(fileno=os.dup(1000))
    spare = channel.fileno()

    def packet(text=b"", fds=(), count=None, size=None, spilled=0):
        count = len(fds) - spilled if count is None else count
        size = len(text) if size is None else size
        header = b"ZCHN" + struct.pack("=IQII", count, size, spilled, 0)
        socket.send_fds(channel, [header + text], fds)

    def memfd(text, size=None):
        fd = os.memfd_create("x", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.truncate(fd, size or 0)
        os.pwrite(fd, text, 0)
        fcntl.fcntl(fd, 1033, 15)  # F_ADD_SEALS, all of them
        return fd

    def spill(text):
        packet(fds=[memfd(text)], size=len(text), spilled=1)

    def message(section, count):
        \"\"\"A sealed SIPC message that is a header and a hole: `count` records of a section.\"\"\"
        sizes = [1, 16, 16, 4, 8, 4, 24, 4, 4, 24, 16, 1]
        end, sections = 320, b""
        for i, size in enumerate(sizes):
            end = (end + 63) // 64 * 64
            sections += struct.pack("=QQ", end, count if i == section else 0)
            end += size * (count if i == section else 0)
        header = struct.pack("=8sIIQQ", b"ZRWSIPC", 1, 320, end, 0) + sections
        return memfd(header, end)

    OUTPUT = b'{"op":"output","format":"sipc","rows":0,"bytes":0}'

    def output(fds, **fields):
        import json
        body = {"op": "output", "format": "sipc", "rows": 0, "bytes": 0, **fields}
        packet(json.dumps(body).encode(), fds)
        os._exit(0)
"""

# What the function does, and what the error must say.
DEEDS = {
    "deep": ("peer.spill(b'[' * (4 << 20))", "deeper than 64"),
    "deep_and_small": ("peer.packet(b'[' * 1000)", "deeper than 64"),
    "huge": ("peer.spill(b'[' + b'0,' * (30 << 20) + b'0]')", "may be"),
    "many_values": (
        "peer.spill(b'[' + b'[],' * (1 << 20) + b'0]')",
        "more than 1000 values",
    ),
    "not_utf8": ("peer.packet(b'\"\\xff\"')", "isn't JSON"),
    "not_a_number": ("peer.packet(b'{\"op\": NaN}')", "isn't JSON"),
    "same_key_twice": ('peer.packet(b\'{"op":"x","op":"y"}\')', "twice"),
    "flood": ('while True: peer.packet(b\'{"op":"result"}\')', "more than one answer|killed"),
    "importing": (
        'while True: peer.packet(b\'{"op":"importing"}\')',
        "more than one answer|killed",
    ),
    "descriptors": (
        "[peer.packet(b'{}', [peer.spare] * 250, count=16_384) for i in range(66)]",
        "may be|larger than",
    ),
    "half_a_message": ("peer.packet(b'{}', [peer.spare], count=3)", "not 3"),
    "body_missing": ("peer.packet(b'', [peer.spare], spilled=1)", "sealed"),
    "body_sparse": (
        "peer.packet(fds=[peer.memfd(b'{', 4 << 20)], size=4 << 20, spilled=1)",
        "sparse",
    ),
    "no_header": ("peer.channel.send(b'ZCHN')", "without a header"),
    "two_answers": (
        'peer.packet(b\'{"op":"result","value":1}\'); return t',
        "more than one answer",
    ),
    "left_without_an_answer": ('peer.packet(b\'{"op":"left"}\')', "isn't in the protocol"),
    "left_without_a_table": (
        'peer.packet(b\'{"op":"result","value":1}\'); peer.packet(b\'{"op":"left"}\')',
        "something else than was asked for",
    ),
    "left_twice": (
        'peer.packet(b\'{"op":"result","value":1}\'); '
        'peer.packet(b\'{"op":"left"}\'); peer.packet(b\'{"op":"left"}\')',
        "more than one answer",
    ),
    "left_with_a_file_that_changes": (
        "peer.packet(peer.OUTPUT, [os.memfd_create('x')]); peer.packet(b'{\"op\":\"left\"}')",
        "sealed|sealing|doesn't have",
    ),
    "terabyte": ("peer.output([peer.message(2, 2**36)])", "sparse|doesn't have"),
    "zero_nodes": ("peer.output([peer.message(6, 40 << 20)])", "sparse|doesn't have"),
    "no_table": ("peer.output([peer.spare])", "sealed|sealing|doesn't have"),
    "wrong_types": ("peer.output([peer.spare], rows='x', bytes=[])", "malformed"),
    "numbers_too_large": ("peer.output([peer.spare], rows=2**64 - 1, bytes=10**30)", "malformed"),
    "arrow_file_with_a_hole": (
        "peer.output([peer.memfd(b'ARROW1', 1 << 40)], format='arrow_file')",
        "sparse",
    ),
}


MODEL = """
@zerrow.model()
def {name}(t=zerrow.Model("t")):
    import peer
    {statement}
    time.sleep(0.05)
    os._exit(0)
"""

HEALTHY = """
@zerrow.model()
def healthy(t=zerrow.Model("t")):
    return t
"""


def test_workers_that_send_anything(project):
    project.write("peer.py", PEER)
    models = [MODEL.format(name=name, statement=deed[0]) for name, deed in DEEDS.items()]
    project.models("".join([*models, HEALTHY]))
    run = project.run()
    assert run.code == 1
    statuses = run.statuses()
    assert statuses.pop("healthy") == statuses.pop("t") == "success"
    assert set(statuses.values()) <= {"failed", "killed"}
    for name, (_, said) in DEEDS.items():
        error = run.models[name]["error"]
        assert error["file"] == "models/m.py"
        assert any(text in error["message"] for text in said.split("|")), (name, error)
    project.expect_nothing_left()


# Says that it has left and doesn't go; what it has made small is in the message, else in a chunk.
STAYS = """
@zerrow.model()
def {name}(t=zerrow.Model("t")):
    import gc, json, peer
    from zerrow._worker.tasks import Task
    task = next(found for found in gc.get_objects() if type(found) is Task)
    answer = task.publish(pa.table({{"n": pa.array([7] * {rows})}}))
    peer.packet(json.dumps(answer.body).encode(), answer.fds)
    peer.packet(b'{{"op":"left"}}')
    while True:
        pass

@zerrow.model()
def after_{name}(found=zerrow.Model("{name}")):
    assert found["n"].to_pylist() == [7] * {rows}
    return found
"""


def test_a_worker_that_only_says_that_it_has_left(project, monkeypatch):
    monkeypatch.setenv("ZERROW_EXIT_TIMEOUT_S", "1")
    project.write("peer.py", PEER)
    project.models(STAYS.format(name="small", rows=10) + STAYS.format(name="large", rows=1_000_000))
    run = project.run("--jobs", "4")
    assert run.code == 0, run.stderr
    assert set(run.statuses().values()) == {"success"}
    project.expect_nothing_left()


def test_a_project_that_floods_while_it_is_read(project):
    project.write("peer.py", PEER)
    project.models(
        """
        import peer

        while True:
            peer.packet(b'{"op":"importing","file":"models/other.py"}')
        """
        + textwrap.indent(HEALTHY, " " * 8)
    )
    run = project.run()
    assert run.code == 1
    (error,) = run.report["errors"]
    assert "10000" in error["message"]
    project.expect_nothing_left()


@pytest.mark.parametrize(
    "value", [[[]] * 100_000, {"models": [[[]]] * 1000}, "x" * 1_000_000, None], ids=type
)
def test_a_description_of_anything(project, value):
    project.write("peer.py", PEER)
    (project.folder / "value.json").write_text(json.dumps({"op": "result", "value": value}))
    project.models(
        """
        import peer

        text = open("value.json", "rb").read()
        peer.spill(text) if len(text) > 30_000 else peer.packet(text)
        os._exit(0)
        """
        + textwrap.indent(HEALTHY, " " * 8)
    )
    run = project.run()
    assert run.code == 1
    assert "project description" in run.report["errors"][0]["message"]


# How many hostile functions in a row; `make test-hostile` has ten thousand of them.
COUNT = int(os.environ.get("ZERROW_TEST_HOSTILE", "300"))
# Its engine is kept between the runs, in this process, which so shows what it costs.
HOST = """
import gc, json, os, sys
import zerrow

def cost():
    gc.collect()
    status = open("/proc/self/status").read()
    resident = int(status.split("RssAnon:")[1].split()[0]) // 1024
    return {"descriptors": len(os.listdir("/proc/self/fd")), "resident_mib": resident}

def run():
    result = zerrow.run(sys.argv[1], backend=sys.argv[2], check=False, on_line=lambda *_: None)
    return {name: model.status for name, model in result.models.items()}

statuses = [run(), run()]
before = cost()
statuses += [run() for _ in range(int(sys.argv[3]))]
print(json.dumps({"statuses": statuses, "before": before, "after": cost()}))
"""


@pytest.mark.parametrize("project", ["memfd"], indirect=True)
def test_the_engine_stays_what_it_was_after_many(project):
    project.write("peer.py", PEER)
    models = [MODEL.format(name=name, statement=deed[0]) for name, deed in DEEDS.items()]
    project.models("".join([*models, HEALTHY]))
    runs = -(-COUNT // len(DEEDS))
    told = subprocess.run(
        [sys.executable, "-c", HOST, project.folder, project.backend, str(runs)],
        stdout=subprocess.PIPE,
        check=True,
        timeout=60 + 5 * runs,
    ).stdout
    seen = json.loads(told)
    for statuses in seen["statuses"]:
        assert statuses.pop("healthy") == statuses.pop("t") == "success"
        assert set(statuses) == set(DEEDS)
        assert set(statuses.values()) <= {"failed", "killed"}
    before, after = seen["before"], seen["after"]
    # Chunks of the pool come and go, two descriptors each.
    assert after["descriptors"] <= before["descriptors"] + 16, seen
    assert after["resident_mib"] <= before["resident_mib"] + 16, seen
