"""Pipelines under memory limits: none is killed, none fails that could be done, none takes more.

Each pipeline is run without a limit, then at fractions of the peak that it had, by each policy;
results must be those of the first run. Where a limit is above what the largest function needs with
its inputs, and Zerrow itself besides, the run must succeed; where it is below what that function
has of tables alone, it must be refused, by a message that names a model and the limit. Between
them either is right.

Parts (`--only`, may be repeated): `alone`, with an engine each; `at-once`, four runs of a pipeline
in one resident engine that has the limit of one run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import lib
import limit_dags
import sql_engines
from engine_process import Peak, resident_engine
from limited_run import (
    MIB,
    Outcome,
    differences,
    environment,
    oom_kills,
    own_bytes,
    run_at_once,
    run_own,
)

POLICIES = ("adaptive", "swap", "rollback")
FRACTIONS = (4.0, 2.0, 1.0, 0.5, 0.25)


@dataclass
class Pipeline:
    """A project, and what its run without a limit has shown."""

    name: str
    folder: Path
    dag: limit_dags.Dag
    expected: Path  # its results
    peak_bytes: int = 0
    tables_bytes: int = 0
    need_bytes: int = 0
    neediest: str = ""


@dataclass(frozen=True)
class Case:
    """One pipeline under one limit, which is a fraction of its peak without one."""

    pipeline: Pipeline
    part: str
    policy: str
    fraction: float
    own_bytes: int  # Zerrow's

    @property
    def limit_bytes(self) -> int:
        return int(self.pipeline.peak_bytes * self.fraction)

    @property
    def is_enough(self) -> bool:
        """For the largest function, by all that it could need."""
        used = self.pipeline.need_bytes + self.own_bytes + self.pipeline.dag.heap_bytes
        return self.limit_bytes - reserve_bytes(self.limit_bytes) >= used

    @property
    def options(self) -> tuple[str, ...]:
        return ("--memory-limit", str(self.limit_bytes), "--eviction", self.policy)

    def judge(self, outcome: Outcome, result: Path) -> str:
        """'ok' or 'refused: ...' if that is right, else what is wrong, in capitals."""
        above = int(outcome.figures["peak_bytes"] or 0) - self.limit_bytes
        if outcome.hung:
            return "HUNG"
        if above > 0:
            return f"ABOVE THE LIMIT by {above / MIB:.1f} MiB"
        if not outcome.ok:
            return self._judge_failure(outcome)
        if self.limit_bytes < self.pipeline.need_bytes:
            return "DONE below its need"
        wrong = ", ".join(differences(self.pipeline.expected, result))
        return f"WRONG RESULTS: {wrong}" if wrong else "ok"

    def _judge_failure(self, outcome: Outcome) -> str:
        said = f"{outcome.model}: {outcome.error}"
        if self.is_enough:
            return f"FAILED: {said}"
        named = outcome.model or "while the project was read" in outcome.error
        if not named or "limit" not in outcome.error:
            return f"REFUSED WITHOUT SAYING WHY: {said}"
        return f"refused: {said}"


@dataclass(frozen=True)
class Verdict:
    case: Case
    what: str
    figures: lib.Figures

    @property
    def right(self) -> bool:
        return self.what == "ok" or self.what.startswith("refused")

    def cells(self) -> list[str]:
        case = self.case
        figures = (lib.human(name, self.figures.get(name)) for name in FIGURES)
        limit = f"{case.fraction:g} x: {lib.human('_bytes', case.limit_bytes)}"
        return [case.pipeline.name, case.part, limit, case.policy, *figures, self.what]

    def document(self) -> dict[str, object]:
        cells = dict(zip(HEADER, self.cells(), strict=True))
        return {**cells, **self.figures, "limit_bytes": self.case.limit_bytes}


FIGURES = ("wall_s", "cpu_s", "peak_bytes", "evicted_bytes")
HEADER = ["pipeline", "part", "limit", "policy", *FIGURES, "outcome"]


def reserve_bytes(limit: int) -> int:
    """Zerrow's, of a limit."""
    return min(max(limit // 8, 16 * MIB), 512 * MIB)


@contextlib.contextmanager
def prepared(options: argparse.Namespace, env: dict[str, str]) -> Iterator[list[Pipeline]]:
    """All pipelines, after a run each without a limit."""
    size = options.table_mib * MIB
    makers: dict[str, Callable[[], limit_dags.Dag]] = {
        name: lambda shape=shape: shape(size)  # type: ignore[misc]
        for name, shape in limit_dags.SHAPES.items()
    }
    makers["tpch"] = lambda: limit_dags.tpch(lineitem(options.scale_factor), options.chains)
    with contextlib.ExitStack() as stack:
        pipelines = []
        for name in options.pipeline or makers:
            dag = makers[name]()
            folder = stack.enter_context(lib.project(dag.files()))
            pipelines.append(Pipeline(name, folder, dag, folder / "expected"))
            run_unlimited(pipelines[-1], env)
        yield pipelines


def lineitem(scale_factor: float) -> Path:
    data = lib.ROOT / "build" / "bench" / f"tpch-{scale_factor:g}"
    sql_engines.prepare(data, scale_factor)
    return data / "lineitem.parquet"


def run_unlimited(pipeline: Pipeline, env: dict[str, str]) -> None:
    outcome = run_own(pipeline.folder, "--output", str(pipeline.expected), env=env)
    if not outcome.ok or outcome.figures["evicted_bytes"]:
        raise RuntimeError(f"{pipeline.name} needs a larger machine: {outcome.error}")
    models = outcome.document["models"]
    pipeline.peak_bytes = int(outcome.figures["peak_bytes"] or 0)
    pipeline.tables_bytes = sum(model["bytes"] for model in models)
    pipeline.need_bytes, pipeline.neediest = pipeline.dag.largest_need(models)
    print(
        f"# {pipeline.name}: {len(models)} models, tables of"
        f" {pipeline.tables_bytes / MIB:,.0f} MiB in all,"
        f" {pipeline.tables_bytes / pipeline.need_bytes:.1f} x the largest need"
        f" ({pipeline.neediest}: {pipeline.need_bytes / MIB:,.0f} MiB with its inputs);"
        f" without a limit peak {pipeline.peak_bytes / MIB:,.0f} MiB,"
        f" {outcome.figures['wall_s']:.2f} s, {outcome.figures['cpu_s']:.2f} s of CPU",
        file=sys.stderr,
    )


def alone(case: Case, options: argparse.Namespace, env: dict[str, str]) -> Verdict:
    with tempfile.TemporaryDirectory(prefix="zerrow-bench-") as result:
        outcome = run_own(case.pipeline.folder, *case.options, "--output", result, env=env)
        return Verdict(case, case.judge(outcome, Path(result)), outcome.figures)


def at_once(case: Case, options: argparse.Namespace, env: dict[str, str]) -> Verdict:
    """The peak is of all runs and the engine."""
    with (
        tempfile.TemporaryDirectory(prefix="zerrow-bench-") as results,
        resident_engine(case.options) as engine,
    ):
        folders = [Path(results) / str(i) for i in range(options.runs)]
        before = engine.cpu_s()
        with Peak(engine.group.memory, [engine.pid]) as peak:
            outputs = [("--output", str(folder)) for folder in folders]
            outcomes = run_at_once(engine, [case.pipeline.folder] * len(folders), *outputs)
        figures: lib.Figures = {
            "wall_s": max(one.figures["wall_s"] or 0 for one in outcomes),
            "cpu_s": engine.cpu_s() - before,
            "peak_bytes": peak.bytes,
            "evicted_bytes": sum(one.figures["evicted_bytes"] or 0 for one in outcomes),
        }
        verdicts = []
        for outcome, folder in zip(outcomes, folders, strict=True):
            outcome.figures["peak_bytes"] = peak.bytes
            verdicts.append(Verdict(case, case.judge(outcome, folder), figures))
    return min(verdicts, key=lambda one: one.right)


PARTS = {"alone": alone, "at-once": at_once}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=PARTS, help="this part")
    names = [*limit_dags.SHAPES, "tpch"]
    parser.add_argument("--pipeline", action="append", choices=names, help="this one")
    parser.add_argument("--policy", action="append", choices=POLICIES, help="this one")
    parser.add_argument("--fraction", action="append", type=float, help="of the unlimited peak")
    parser.add_argument("--table-mib", type=int, default=176, help="of each generated table")
    parser.add_argument("--scale-factor", type=float, default=0.5, help="of TPC-H's tables")
    parser.add_argument("--chains", type=int, default=16, help="over TPC-H's lineitem")
    parser.add_argument("--runs", type=int, default=4, help="at once")
    parser.add_argument("--quick", action="store_true", help="small tables, few runs: a minute")
    parser.add_argument("--json", metavar="FILE", help="write all verdicts")
    options = parser.parse_args()
    if options.quick:
        options.table_mib = 32
        options.pipeline = options.pipeline or ["diamond, kept", "two-pass"]
        options.fraction = options.fraction or [0.5]
    options.fraction = options.fraction or list(FRACTIONS)
    options.policy = options.policy or list(POLICIES)
    return options


def print_report(
    verdicts: Sequence[Verdict], own: dict[str, int], kills: int, options: argparse.Namespace
) -> None:
    wrong = [one for one in verdicts if not one.right]
    print("# memory limits, as fractions of the peak without one; cold, an engine's own processes")
    print("# " + " | ".join(f"{key} {value}" for key, value in lib.machine().items()))
    takes = ", ".join(f"{size / MIB:.0f} MiB ({part})" for part, size in own.items())
    print(f"# Zerrow itself takes {takes}, and keeps an eighth of the limit as its reserve")
    print(lib.text_table(HEADER, [one.cells() for one in verdicts]))
    refused = sum(one.what.startswith("refused") for one in verdicts)
    print(
        f"{len(verdicts)} cases: {len(verdicts) - len(wrong) - refused} done, {refused} refused as"
        f" they should be, {len(wrong)} wrong; {kills} kernel OOM kills"
    )
    if options.json:
        document = {"machine": lib.machine(), "verdicts": [one.document() for one in verdicts]}
        Path(options.json).write_text(json.dumps(document, indent=1) + "\n")


def cases(
    pipelines: Sequence[Pipeline], own: dict[str, int], options: argparse.Namespace
) -> Iterator[Case]:
    for part, own_of_part in own.items():
        policies = options.policy[:1] if options.quick and part == "at-once" else options.policy
        for pipeline in pipelines:
            for fraction in options.fraction:
                for policy in policies:
                    yield Case(pipeline, part, policy, fraction, own_of_part)


def main() -> int:
    options = parse()
    kills_before = oom_kills()
    verdicts: list[Verdict] = []
    with tempfile.TemporaryDirectory(prefix="zerrow-bench-") as state:
        env = environment(Path(state))
        runs = {"alone": None, "at-once": options.runs}
        own = {part: own_bytes(env, runs[part]) for part in options.only or PARTS}
        with prepared(options, env) as pipelines:
            for case in cases(pipelines, own, options):
                verdicts.append(PARTS[case.part](case, options, env))
                print("  ".join(verdicts[-1].cells()), file=sys.stderr, flush=True)
    kills = oom_kills() - kills_before
    print_report(verdicts, own, kills, options)
    return 0 if kills == 0 and all(one.right for one in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
