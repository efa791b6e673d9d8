"""Many hostile functions in a row: afterwards the engine is what it was before.

As many as $ZERROW_TEST_HOSTILE says; `make test-hostile` has ten thousand of them.
"""

import json
import os
import subprocess
import sys

from test_hostile import DEEDS, HEALTHY, MODEL, PEER

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
    return {name: model["status"] for name, model in result.models.items()}

statuses = [run(), run()]
before = cost()
statuses += [run() for _ in range(int(sys.argv[3]))]
print(json.dumps({"statuses": statuses, "before": before, "after": cost()}))
"""


def test_the_engine_stays_what_it_was(project):
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
