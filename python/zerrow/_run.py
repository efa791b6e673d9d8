"""`zerrow.run`: runs a project from Python and gives its tables, without copying them."""

import contextlib
import inspect
import json
import operator
import os
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex, TypedDict, Unpack

from zerrow._html import report_html, show_tables
from zerrow._progress import NotebookProgress, in_notebook
from zerrow._reports import EngineStatus, ModelReport, RunReport, read_report
from zerrow._run_errors import (
    EngineError,
    InvalidOptionsError,
    InvalidProjectError,
    ModelError,
    RunError,
    UnknownTableError,
)
from zerrow._sizes import parse_bytes

if TYPE_CHECKING:
    import pyarrow as pa
    from zerrow._engine import Asked, Run, TableHandle

Line = Callable[[str, int, str], None]
PathText = str | os.PathLike[str]
Functions = Callable[..., Any] | Iterable[Callable[..., Any]]

_PATIENCE_S = 0.1
_UNLIMITED = 2**63 - 1


class RunResult:
    """What a run left: its report, and the tables of the models that were kept.

    Attributes:
        report: how it went, as `zerrow run -O json` prints it.
    """

    def __init__(self, report: RunReport, tables: "Mapping[str, TableHandle]") -> None:
        self.report = report
        self._tables = dict(tables)

    def __repr__(self) -> str:
        return f"<zerrow.RunResult {self.status}: {', '.join(self.models)}>"

    def _repr_html_(self) -> str:
        return report_html(self.report)

    @property
    def status(self) -> str:
        """success, failed or cancelled."""
        return self.report.status

    @property
    def models(self) -> dict[str, ModelReport]:
        """The report of each model, source and expectation, by name, in the order of the DAG."""
        return {model.name: model for model in self.report.models}

    @property
    def tables(self) -> list[str]:
        """The names that `table` knows."""
        return list(self._tables)

    def table(self, model: str) -> "pa.Table":
        """The model's output, zero-copy: it stays valid and in memory for as long as it is held.
        Only texts that Zerrow itself had as dictionaries are decoded.

        Raises UnknownTableError, a KeyError too, for a model that failed or wasn't kept, ModelError
        if what it returned isn't sound: all of it is checked, so that reading it can't crash this
        process.
        """
        handle = self._tables.get(model)
        if handle is None:
            kept = ", ".join(self._tables) or "none"
            raise UnknownTableError(f"the run has no table of {model!r}; there is: {kept}")
        try:
            from zerrow._worker.dictionaries import decoded

            table: pa.Table = decoded(handle.open())
        except Exception as problem:
            raise ModelError(f"what {model!r} returned can't be read: {problem}", self) from problem
        return table


def run(
    project: PathText | Functions | None = None,
    *,
    sources: Mapping[str, object] | None = None,
    parameters: Mapping[str, Any] | None = None,
    select: Iterable[str] = (),
    exclude: Iterable[str] = (),
    keep: Iterable[str] = ("*",),
    jobs: int | None = None,
    backend: str = "auto",
    strict: bool = False,
    account: bool = False,
    cache: bool = True,
    content_reshare: bool = True,
    memory_limit: int | str | None = None,
    priority: int = 0,
    explain_memory: bool = False,
    output: str | os.PathLike[str] | None = None,
    check: bool = True,
    on_line: Line | None = None,
) -> RunResult:
    """Runs a project as `zerrow run` does and waits for its end; Ctrl-C stops it and raises.

    Args:
        project: the folder that has zerrow_project.yml; if None the working folder, or else the
            nearest one above it that has one. Or decorated functions of this process, such as a
            notebook's, which then are the project: they are run in processes of their own as any
            others, with what they use of this one (by cloudpickle).
        sources: what these functions read besides each other, by name: a path as in a project
            file, but relative to this process's folder, or a table (pyarrow's, or any with an Arrow
            stream, as polars' and pandas' frames).
        parameters: values for the project's parameters.
        select: models to run, with their ancestors, each a name or what `zerrow run --select`
            takes ("stg_*", "tag:daily", "late+", "state:failed"); all if empty.
        exclude: what of these isn't to run, unless it is needed.
        keep: models whose tables the result holds; "*" stands for all. What isn't kept is freed as
            soon as its last reader is done.
        jobs: functions at once; the number of cores if None.
        backend: auto, kernelzero, memfd, copy or full-copy.
        strict: an expectation that isn't met fails the run.
        account: compute duplicate_bytes and timings; tell what KernelZero did.
        cache: take columns of sources that were decoded before, and keep what is decoded now.
        content_reshare: refer to inputs for what a library copied without changing it.
        memory_limit: what the run may use of memory at once, such as "1GB", "512MiB" or a number
            of bytes: functions wait for each other, and tables go to disk or are made again, so
            that it is kept. By default the project's `memory_limit` holds, and with "none" no
            more than the engine's limit, which `zerrow info` tells.
        priority: of runs at the same time those of a higher one go first.
        explain_memory: have the report say what was decided about memory, when, and why.
        output: a folder for the final models as Parquet files.
        check: raise if the run fails; otherwise look at the result's status.
        on_line: called with model, stream (1 or 2) and text of each line that a function prints;
            by default they go to stdout and stderr, each marked with its model.

    Raises:
        InvalidProjectError, ModelError: subclasses of RunError, if `check`.
        EngineError: Zerrow itself failed.
        InvalidOptionsError: an argument that makes no sense; a ValueError too.
        What `on_line` raises; the run is stopped before.
    """
    return _run(locals(), _submit_here)


class Options(TypedDict, total=False):
    """The keyword arguments of `run`."""

    sources: Mapping[str, object] | None
    parameters: Mapping[str, Any] | None
    select: Iterable[str]
    exclude: Iterable[str]
    keep: Iterable[str]
    jobs: int | None
    backend: str
    strict: bool
    account: bool
    cache: bool
    content_reshare: bool
    memory_limit: int | str | None
    priority: int
    explain_memory: bool
    output: str | os.PathLike[str] | None
    check: bool
    on_line: Line | None


class Connection:
    """The user's resident engine, which `zerrow engine start` has started. Any thread."""

    def run(
        self, project: PathText | Functions | None = None, **options: Unpack[Options]
    ) -> RunResult:
        """As `zerrow.run`, done by the resident engine: the same arguments, result and errors.

        Tables stay valid for as long as they are held, also when the engine has stopped.
        """
        bound = inspect.signature(run).bind(project, **options)
        bound.apply_defaults()
        return _run(bound.arguments, _submit_to_resident)

    def status(self) -> EngineStatus:
        """What the engine does and holds. Raises EngineError if it is gone or doesn't answer."""
        from zerrow import _engine

        with _own_errors():
            told = json.loads(_engine.resident_status())
            if "error" in told:
                raise OSError(told["error"])
        return read_report({"running": True, **told}, EngineStatus)


def connect() -> Connection:
    """The user's resident engine. Raises EngineError if none runs, or it can't do runs for us."""
    connection = Connection()
    connection.status()
    return connection


def _submit_here(asked: "Asked") -> "Run":
    from zerrow._kept_engine import kept

    return kept.get(sys.executable or "").submit(asked, umask=_umask())


def _submit_to_resident(asked: "Asked") -> "Run":
    from zerrow import _engine

    return _engine.submit_to_resident(asked, python=sys.executable or "python3")


def _ask(project: PathText | None, options: Mapping[str, Any]) -> "Asked":
    from zerrow import _engine

    output, jobs, backend = options["output"], options["jobs"], options["backend"]
    if not isinstance(backend, str):
        raise InvalidOptionsError(f"backend must be a name, not {backend!r}")
    return _engine.Asked(
        project_dir=b"" if project is None else _path(project, "project"),
        parameters=_values(options["parameters"]),
        select=_names(options["select"], "select"),
        exclude=_names(options["exclude"], "exclude"),
        jobs=0 if jobs is None else _whole(jobs, "jobs", 1, _engine.MAX_JOBS),
        backend=backend,
        strict=_flag(options, "strict"),
        account=_flag(options, "account"),
        cache=_flag(options, "cache"),
        content_reshare=_flag(options, "content_reshare"),
        memory_limit_bytes=_bytes(options["memory_limit"]),
        priority=_whole(
            options["priority"], "priority", -_engine.MAX_PRIORITY, _engine.MAX_PRIORITY
        ),
        explain_memory=_flag(options, "explain_memory"),
        output_dir=None if output is None else _path(output, "output"),
        keep=_names(options["keep"], "keep"),
        python_path=_python_path(),
        environment=_environment(),
    )


def _run(options: Mapping[str, Any], submit: "Callable[[Asked], Run]") -> RunResult:
    """`options` are all arguments of `run`."""
    with _folder_of(options["project"], options["sources"], options["parameters"]) as folder:
        with _own_errors():
            run = submit(_ask(folder, options))
        result = _wait(run, options["on_line"] or _print_line)
    if options["check"]:
        _raise_if_failed(result)
    return result


@contextlib.contextmanager
def _folder_of(
    project: PathText | Functions | None,
    sources: Mapping[str, object] | None,
    parameters: Mapping[str, Any] | None,
) -> Iterator[PathText | None]:
    if sources is not None and not isinstance(sources, Mapping):
        raise InvalidOptionsError(f"sources must be paths or tables by name, not {sources!r}")
    if project is None or isinstance(project, str | bytes | os.PathLike):
        if sources is not None:
            raise InvalidOptionsError("sources of a folder are those of its zerrow_project.yml")
        yield project
        return
    from zerrow._session import project_of

    with project_of(project, sources, parameters) as folder:
        yield folder


def _wait(run: "Run", on_line: Line) -> RunResult:
    """Waits for the run's end and shows meanwhile what functions print, and in a notebook more."""
    progress = NotebookProgress() if in_notebook() else None
    try:
        # Libraries with a signal handler of their own (DataFusion's, for one) make the kernel go on
        # with an interrupted wait, so that Ctrl-C would only be seen at its end.
        while not run.ended:
            event = run.wait(_PATIENCE_S)
            if event is not None and event[0] == "line":
                _, model, stream, line = event
                on_line(model, stream, line.decode(errors="replace"))
            if progress is not None:
                progress.note(event)
    except BaseException:
        run.cancel()
        while not run.ended:
            run.wait(_PATIENCE_S)
        raise
    if progress is not None:
        progress.show()
        show_tables()
    with _own_errors():
        report, tables = run.take_result()
    return RunResult(read_report(json.loads(report), RunReport), tables)


@contextlib.contextmanager
def _own_errors() -> Iterator[None]:
    """Raises what the engine raises as errors of ours."""
    try:
        yield
    except RunError:
        raise
    except (TypeError, ValueError) as problem:  # pyarrow.ArrowInvalid is one
        raise InvalidOptionsError(str(problem)) from problem
    except Exception as problem:
        raise EngineError(str(problem)) from problem


def _raise_if_failed(result: RunResult) -> None:
    if result.status == "success":
        return
    problems = [str(error) for error in result.report.errors]
    if not result.report.models:
        raise InvalidProjectError("\n".join(problems), result)
    problems += [str(model.error) for model in result.report.models if model.error]
    raise ModelError("\n".join(problems) or f"the run {result.status}", result)


def _path(path: object, argument: str) -> bytes:
    if not isinstance(path, str | bytes | os.PathLike):
        raise InvalidOptionsError(f"{argument} must be a path, not {path!r}")
    return os.fsencode(path)


def _values(parameters: object) -> dict[str, str]:
    values = {} if parameters is None else parameters
    if not isinstance(values, Mapping) or not all(isinstance(name, str) for name in values):
        raise InvalidOptionsError(f"parameters must be values by name, not {parameters!r}")
    # As the command line would have them.
    return {n: str(v).lower() if isinstance(v, bool) else str(v) for n, v in values.items()}


def _names(names: object, argument: str) -> list[str]:
    if isinstance(names, str):
        raise InvalidOptionsError(f"{argument} is a list of names, not a text: [{names!r}]")
    listed: list[str] = []
    for name in names if isinstance(names, Iterable) else [names]:
        if not isinstance(name, str):
            raise InvalidOptionsError(f"{argument} must be a list of names, not of {name!r}")
        listed.append(name)
    return listed


def _whole(number: object, argument: str, least: int, most: int) -> int:
    # Those of numpy are whole numbers, too.
    if isinstance(number, SupportsIndex) and not isinstance(number, bool):
        whole = operator.index(number)
        if least <= whole <= most:
            return whole
    raise InvalidOptionsError(
        f"{argument} must be a whole number from {least} to {most}, not {number!r}"
    )


def _bytes(size: object) -> int | None:
    if size is None:
        return None
    if size == "none":
        return _UNLIMITED
    try:
        return parse_bytes(size)
    except ValueError as problem:
        raise InvalidOptionsError(f"memory_limit {problem}") from None


def _flag(options: Mapping[str, Any], argument: str) -> bool:
    flag = options[argument]
    if not isinstance(flag, bool):
        raise InvalidOptionsError(f"{argument} must be True or False, not {flag!r}")
    return flag


def _print_line(model: str, stream: int, line: str) -> None:
    print(f"{model} | {line}" if model else line, file=sys.stdout if stream == 1 else sys.stderr)


def _python_path() -> list[str]:
    """What the workers' interpreter needs to find this package."""
    package = Path(__file__).parent
    installed = package.parent == Path(sysconfig.get_path("platlib"))
    return [] if installed else [str(package.parent)]


def _environment() -> dict[bytes, bytes]:
    """As functions would find it if they were called here."""
    environment = dict(os.environ)
    if path := environment.get("PYTHONPATH"):
        # The process that reads it may have been started in another folder.
        environment["PYTHONPATH"] = ":".join(map(os.path.abspath, path.split(":")))
    return {os.fsencode(name): os.fsencode(value) for name, value in environment.items()}


def _umask() -> int:
    # To ask the system for it is to change it, also for other threads.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("\nUmask:")[2].split(maxsplit=1)[0], 8)
