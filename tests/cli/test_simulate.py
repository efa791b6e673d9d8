"""`zerrow simulate`: traces, projects, what they print, and what is wrong with them."""

import json

import pytest

HEADING = (
    "pipeline_id,arrival_seconds,priority,operator_id,parents,"
    "baseline_cpu_seconds,cpu_scaling,memory_gb,storage_read_gb\n"
)
TRACE = HEADING + (
    "p1,0.0,BATCH_PIPELINE,op1,,1,const,4,0\n"
    "p1,,,op2,op1,1,const,4,0\n"
    "p1,,,op3,op1;op2,1,const,2,0\n"
    "p2,0.5,QUERY,op1,,8,linear3,6,0\n"
)
LIMITED = ("simulate", "trace.csv", "--slots", "2", "--memory-limit", "7GB", "--policy")


@pytest.fixture
def trace(zerrow):
    zerrow.write(trace__csv=TRACE)
    return zerrow


def by_name(forecast):
    return {task["name"]: task for task in forecast["tasks"]}


def test_a_trace_without_a_limit(trace):
    forecast = trace.json("simulate", "trace.csv", "--slots", "2")
    assert forecast["memory_limit_bytes"] is None
    assert forecast["slots"] == 2
    assert forecast["evictions"] == []
    assert forecast["makespan_s"] == pytest.approx(8.5)
    tasks = by_name(forecast)
    assert list(tasks) == ["p1.op1", "p1.op2", "p1.op3", "p2.op1"]
    assert tasks["p2.op1"]["start_s"] == pytest.approx(0.5)
    assert all(task["status"] == "success" and task["waits"] == [] for task in tasks.values())


@pytest.mark.parametrize("policy", ["swap", "rollback", "adaptive"])
def test_a_limit_makes_tables_go_and_come_back(trace, policy):
    forecast = trace.json(*LIMITED, policy)
    assert forecast["policy"] == policy
    assert forecast["memory_limit_bytes"] == 7_000_000_000
    assert 0 < forecast["peak_bytes"] <= 7_000_000_000
    assert forecast["failed"] == 0
    (eviction,) = forecast["evictions"]
    assert eviction["task"] == "p1.op1"
    assert eviction["bytes"] == 2_000_000_000
    assert eviction["reason"] == "to make room for 'p2.op1', which needs 6 GB"
    swapped = eviction["how"] == "swap"
    assert swapped == (policy == "swap")
    assert forecast["written_bytes"] == forecast["read_bytes"] == (2_000_000_000 if swapped else 0)
    assert forecast["remade_s"] == (0 if swapped else 1)
    tasks = by_name(forecast)
    assert tasks["p1.op1"]["attempts"] == (1 if swapped else 2)
    (wait,) = tasks["p2.op1"]["waits"]
    assert wait["s"] > 0
    assert "memory" in wait["reason"]


def test_the_disk_s_speed_counts(trace):
    slow = trace.json(*LIMITED, "swap", "--disk-write", "100MB", "--disk-read", "50MB")
    # Written in 20 s, from the end of op1 on, and read in 40 s.
    assert by_name(slow)["p2.op1"]["start_s"] == pytest.approx(21)
    assert slow["makespan_s"] == pytest.approx(21 + 8 + 40 + 2)


def test_what_cannot_fit_fails_with_code_1(trace):
    forecast = trace.json("simulate", "trace.csv", "--memory-limit", "5GB", code=1)
    failed = by_name(forecast)["p2.op1"]
    assert forecast["failed"] >= 1
    assert failed["status"] == "failed"
    assert failed["error"] == (
        "it needs at least 6 GB with its inputs, "
        "which the engine's memory limit of 5 GB doesn't allow; "
        "raise --memory-limit, or give it less to do"
    )
    text = trace.run("simulate", "trace.csv", "--memory-limit", "5GB")
    assert text.returncode == 1
    assert f"p2.op1 would fail: {failed['error']}" in text.stdout
    assert "\033" not in text.stdout


def test_a_wrong_trace_is_told_with_its_line(zerrow):
    zerrow.write(trace__csv=TRACE + "p3,soon,QUERY,op1,,1,const,,1\n")
    done = zerrow.run("simulate", "trace.csv")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "error: trace.csv:6: arrival_seconds must be a number from 0 to 1e+12, not 'soon'\n"
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "TRACE|PROJECT"),
        (["missing.csv"], "missing.csv"),
        (["trace.csv", "--memory-limit", "1XB"], "'1XB' is no size"),
        (["trace.csv", "--memory-limit", "-1"], "is no size"),
        (["trace.csv", "--memory-limit", "0"], "at least one byte"),
        (["trace.csv", "--disk-read", "0"], "at least one byte"),
        (["trace.csv", "--policy", "magic"], "rollback"),
        (["trace.csv", "--slots", "0"], "from 1 to"),
        (["trace.csv", "--table-share", "2"], "--table-share"),
    ],
)
def test_wrong_usage_has_code_2(trace, words, told):
    done = trace.run("simulate", *words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert told in done.stderr


@pytest.fixture
def new(project, tmp_path):
    """A project that was never run."""
    project.environment |= {"XDG_STATE_HOME": str(tmp_path / "state")}
    return project


def test_a_project_is_planned_and_estimated(new):
    forecast = new.json("simulate", ".", "--memory-limit", "1GB")
    assert list(by_name(forecast)) == ["numbers", "same"]
    assert "Earlier runs tell what 0 of 2 nodes take. Of the others" in forecast["assumed"]
    assert not list(new.folder.glob("*.parquet"))


def test_what_a_project_took_before_is_what_it_will_take(new):
    report = new.json("run", "--engine", "own", "--memory-limit", "1GB")
    forecast = new.json("simulate", f"{new.folder}/", "--memory-limit", "1GB")
    assert "what 2 of 2 nodes take. --expect" in forecast["assumed"]
    for model in report["models"]:
        task = by_name(forecast)[model["name"]]
        assert task["end_s"] - task["start_s"] == pytest.approx(model["wall_s"], abs=1e-3)
    models = new.folder / "models.py"
    models.write_text(models.read_text().replace("return numbers", "return numbers.slice(0)"))
    other = new.json("simulate", ".", "--memory-limit", "1GB")
    assert "what 0 of 2 nodes take. Of the others" in other["assumed"]


def test_what_is_known_of_a_project_counts(new):
    needs = {
        "numbers": {"table": "600MB", "memory": 800_000_000, "run_s": 3},
        "same": {"run_s": 2},
    }
    (new.folder / "needs.json").write_text(json.dumps(needs))
    words = ["simulate", ".", "--expect", "needs.json", "--memory-limit"]
    forecast = new.json(*words, "2GB")
    # The second copies what it reads, and leaves as much.
    assert forecast["peak_bytes"] == 600_000_000 * 3
    assert forecast["makespan_s"] == pytest.approx(5)
    refused = new.json(*words, "1GB", code=1)
    assert by_name(refused)["same"]["status"] == "failed"


@pytest.mark.parametrize(
    ("needs", "told"),
    [
        ("{", "needs.json: "),
        ("[]", "needs.json: it must be an object"),
        ('{"nubmers": {}}', "did you mean"),
        ('{"numbers": 1}', "needs.json: numbers must be an object"),
        ('{"numbers": {"table": "much"}}', "needs.json: numbers.table: 'much' is no size"),
        ('{"numbers": {"run_s": -1}}', "numbers.run_s must be a number of seconds"),
        ('{"numbers": {"rows": 1}}', "numbers.rows isn't known"),
    ],
)
def test_wrong_needs_are_told(project, needs, told):
    (project.folder / "needs.json").write_text(needs)
    done = project.run("simulate", ".", "--expect", "needs.json")
    assert done.returncode == 2
    assert told in done.stderr


def test_a_broken_project_is_told(zerrow):
    zerrow.write(
        zerrow_project__yml="name: small\n",
        models__py="""
            import zerrow


            @zerrow.model()
            def same(numbers=zerrow.Model("missing")):
                return numbers
        """,
    )
    done = zerrow.run("simulate", ".")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "missing" in done.stderr
