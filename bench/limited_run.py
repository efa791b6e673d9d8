"""One `zerrow run` under a memory limit: what became of it and what it cost."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import lib
import numpy as np
import pyarrow.parquet as pq
from engine_process import Peak, ResidentEngine, cost_group, resident_engine

MIB = 2**20
PATIENCE_S = 300
SMALL = """\
import time
import numpy, pyarrow as pa, zerrow

@zerrow.model()
def small():
    time.sleep(1)  # so that those of several runs meet
    return pa.table({"x": [1]})
"""


@dataclass
class Outcome:
    """`document` is the report; `error` says why there is none that tells of success."""

    figures: lib.Figures = field(default_factory=dict)
    document: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    model: str = ""  # that the error names
    hung: bool = False

    @property
    def ok(self) -> bool:
        return self.document.get("status") == "success"


def oom_kills() -> int:
    """The kernel's, since it was started."""
    lines = Path("/proc/vmstat").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


def environment(state: Path) -> dict[str, str]:
    """Nothing that earlier runs have taught is known."""
    return {**os.environ, "XDG_STATE_HOME": str(state)}


def command(project: Path, engine: str, *options: str) -> list[str]:
    words = [*lib.zerrow_command(), "run", "-p", str(project), "-O", "json", "--engine", engine]
    return [*words, *options]


def run_own(
    project: Path, *options: str, env: dict[str, str], patience_s: float = PATIENCE_S
) -> Outcome:
    """With an engine of its own, in cgroups of its own."""
    with cost_group() as group:
        started = Started(command(project, "own", *options), env, group.enter)
        outcome = started.wait(patience_s)
        outcome.figures["cpu_s"] = group.cpu_s() or outcome.figures["cpu_s"]
    peaks = (group.memory.peak_bytes, outcome.document.get("peak_memory_bytes"))
    outcome.figures["peak_bytes"] = max(peak or 0 for peak in peaks)
    return outcome


def run_at_once(
    engine: ResidentEngine, projects: Sequence[Path], *options: Sequence[str]
) -> list[Outcome]:
    """A run of each project, all in the engine, each with its own options."""
    started = [
        Started(command(project, "resident", *given), engine.env)
        for project, given in zip(projects, options, strict=True)
    ]
    return [one.wait(PATIENCE_S) for one in started]


class Started:
    """A command that is on its way."""

    def __init__(self, words: Sequence[str], env: dict[str, str], enter: Any = None) -> None:
        self._files = contextlib.ExitStack()
        self._out, self._err = map(self._files.enter_context, (_file(), _file()))
        self._began = time.perf_counter()
        self._process = subprocess.Popen(
            words,
            stdout=self._out,
            stderr=self._err,
            env=env,
            preexec_fn=enter,  # noqa: PLW1509
        )

    def wait(self, patience_s: float) -> Outcome:
        outcome = Outcome()

        def give_up() -> None:
            outcome.hung = True
            self._process.kill()

        timer = threading.Timer(patience_s, give_up)
        timer.start()
        try:
            _, status, usage = os.wait4(self._process.pid, 0)
        finally:
            timer.cancel()
        self._process.returncode = os.waitstatus_to_exitcode(status)
        outcome.figures["wall_s"] = time.perf_counter() - self._began
        outcome.figures["cpu_s"] = usage.ru_utime + usage.ru_stime
        with self._files:
            self._read(outcome)
        return outcome

    def _read(self, outcome: Outcome) -> None:
        self._out.seek(0)
        self._err.seek(0)
        said = self._err.read()
        with contextlib.suppress(json.JSONDecodeError):
            outcome.document = json.load(self._out)
        outcome.figures["evicted_bytes"] = outcome.document.get("evicted_bytes")
        if outcome.hung:
            outcome.error = "it hung"
        elif not outcome.ok:
            models = outcome.document.get("models", ())
            errors = [model["error"] for model in models if model.get("error")]
            errors += outcome.document.get("errors", ())  # of what belongs to no model
            errors.append({"model": "", "message": said.strip()[-500:]})
            outcome.model, outcome.error = errors[0]["model"], errors[0]["message"]


def _file() -> TextIO:
    return tempfile.TemporaryFile("w+")


def own_bytes(env: dict[str, str], runs: int | None = None) -> int:
    """What Zerrow takes for a run whose tables are next to nothing, or for `runs` in one engine."""
    with contextlib.ExitStack() as stack:
        file = {"zerrow_project.yml": "name: own\n", "models.py": SMALL}
        projects = [stack.enter_context(lib.project(file)) for _ in range(runs or 1)]
        if runs is None:
            return int(run_own(projects[0], env=env).figures["peak_bytes"] or 0)
        engine = stack.enter_context(resident_engine())
        with Peak(engine.group.memory, [engine.pid]) as peak:
            run_at_once(engine, projects, *[()] * runs)
        return peak.bytes or 0


def differences(expected: Path, found: Path) -> Iterator[str]:
    """Final models that aren't equal: rows in any order, floats as far as additions may vary."""
    for file in sorted(expected.glob("*.parquet")):
        other = found / file.name
        if not other.exists():
            yield f"{file.stem} is missing"
            continue
        a, b = (pq.read_table(path).to_pandas() for path in (file, other))
        a, b = (t.sort_values(list(t.columns), ignore_index=True) for t in (a, b))
        same = a.shape == b.shape and all(
            np.allclose(a[name], b[name], rtol=1e-9)
            if a[name].dtype.kind == "f"
            else a[name].equals(b[name])
            for name in a.columns
        )
        if not same:
            yield f"{file.stem} differs"
