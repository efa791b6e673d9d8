"""Messages with the engine: tests/messages.json has one of each, and the engine's side reads and
writes the same ones in src/engine/messages_test.cc."""

import json
import platform
import textwrap
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from zerrow._worker import messages

GOLDEN = json.loads((Path(__file__).parents[2] / "messages.json").read_text())
TYPES = {
    "ready": messages.Ready,
    "fork": messages.Fork,
    "fork_importing": messages.Fork,
    "end_run": messages.EndRun,
    "forked": messages.Forked,
    "exited": messages.Exited,
    "unforked": messages.Missing,
    "lost": messages.Missing,
    "importing": messages.Importing,
    "decoded": messages.Decoded,
    "scanned": messages.Scanned,
    "output": messages.Output,
    "failed": messages.Failed,
    "expected": messages.Result,
    "previewed": messages.Result,
    "exported": messages.Result,
    "prepared": messages.Result,
}
VALUES = {
    "expected": messages.Expected,
    "previewed": messages.Rows,
    "prepared": messages.Prepared,
}
TABLE = pa.table({"a": [1, 2, 3]})


def check(message, type_):
    """It has what the type requires, each of the type's, and nothing that the type doesn't name."""
    taken = msgspec.to_builtins(msgspec.convert(message, type_, strict=True))
    assert json.loads(json.dumps(taken)) == message


@pytest.mark.parametrize("name", TYPES)
def test_each_message_is_as_its_type_says(name):
    check(GOLDEN[name], TYPES[name])
    if name in VALUES:
        check(GOLDEN[name]["value"], VALUES[name])


@pytest.mark.parametrize("kind", GOLDEN["kinds"])
def test_a_task_has_nothing_that_a_worker_does_not_know(kind):
    rest = GOLDEN["kinds"][kind]
    inputs = [{**GOLDEN["input"], **entry} for entry in rest.get("inputs", ())]
    check({**GOLDEN["task"], "kind": kind, **rest, "inputs": inputs}, messages.TaskBody)


def test_what_is_not_in_a_type_is_noticed():
    with pytest.raises(AssertionError):
        check({**GOLDEN["forked"], "surplus": 1}, messages.Forked)
    with pytest.raises(msgspec.ValidationError, match="missing required field `worker`"):
        check({"op": "forked"}, messages.Forked)
    with pytest.raises(msgspec.ValidationError, match="Expected `int`"):
        check({"op": "forked", "worker": "1"}, messages.Forked)


def test_a_zygote_and_its_workers_write_what_the_types_say(plain_zygote, tmp_path):
    check(plain_zygote.ready, messages.Ready)
    source = "def f(a):\n    return a\n"
    outcome = plain_zygote.call(tmp_path, source, [("a", TABLE)], account=True, hash=True)
    check(outcome.answer, messages.Output)
    assert outcome.answer["timings"].keys() == GOLDEN["output"]["timings"].keys()
    check(outcome.exited, messages.Exited)
    check(plain_zygote.call(tmp_path, "def f():\n    1 / 0\n").answer, messages.Failed)


def test_an_expectation_writes_what_its_type_says(plain_zygote, tmp_path):
    source = """
    from zerrow.standard_expectations import expect_column_no_nulls
    def f(a):
        assert expect_column_no_nulls(a, "a")
    """
    given = [("a", pa.table({"a": [1, None]}))]
    answer = plain_zygote.call(tmp_path, textwrap.dedent(source), given, kind="expectation").answer
    check(answer["value"], messages.Expected)
    assert answer["value"].keys() == GOLDEN["expected"]["value"].keys()


def test_previews_and_sources_write_what_their_types_say(plain_zygote, scan, tmp_path):
    preview = plain_zygote.run(tmp_path, "preview", [("a", TABLE)], model="a", rows=1)
    check(preview.answer["value"], messages.Rows)
    path = str(tmp_path / "t.parquet")
    pq.write_table(pa.table({"a": [1, 2], "b": ["x", "x"]}), path)
    found = scan([path], [(["a", "b"], None, True)])
    check(found.answer, messages.Scanned)
    check(json.loads(json.dumps(found.messages[0])), messages.Decoded)


def test_a_project_is_described_as_the_engine_reads_it(project):
    project.write(
        "zerrow_project.yml",
        """
        name: p
        memory_limit: 3GB
        parameters:
          n: {type: int, default: 3}
        sources:
          t: data/t
        models:
          - {name: few, operator: slice, input: t, slice: {length: 1}, memory: 1MB, tags: [core]}
        """,
    )
    folder = project.path / "data" / "t" / "year=2013"
    folder.mkdir(parents=True)
    pq.write_table(TABLE, folder / "t.parquet")
    project.write(
        "models.py",
        """
        from typing import Annotated
        import polars
        import pyarrow as pa
        import zerrow

        class Rows(zerrow.TableSchema):
            a: zerrow.Int64 | None

        @zerrow.model(deterministic=False)
        @zerrow.python(pip={"x": "1"})
        @zerrow.resources(timeout=1.5, memory="2GB")
        def apart(
            rows: Annotated[polars.DataFrame, zerrow.Model("t", columns=["a"], filter="a > $n")],
            least: Annotated[int, zerrow.Parameter("n")],
        ) -> Annotated[pa.Table, Rows]:
            return rows

        @zerrow.expectation()
        def check(rows=zerrow.Model("few")):
            return True
        """,
    )
    project.write("query.sql", "-- zerrow: output_schema=Rows\nSELECT a FROM t\n")
    project.write("bad.sql", "-- zerrow: nonsense=1\nSELECT a FROM t\n")
    text = json.dumps(project.describe())
    found = json.loads(text.replace(str(project.path), "/project"))
    for model in found["models"]:
        if model["kind"] in ("python", "expectation"):
            assert isinstance(model["code"], str)
            model["code"] = "f00d"
    apart = next(model for model in found["models"] if model["name"] == "apart")
    assert apart["environment"]["python"] == platform.python_version()
    apart["environment"]["python"] = "3.11.2"
    found["import_again"] = ""  # the worker adds it
    assert found == GOLDEN["description"]
