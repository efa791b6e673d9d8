"""Help, versions, usage errors: what needs no project."""

import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ["init", "run", "show", "query", "explain", "simulate", "info", "version"]


def test_help_lists_the_commands_and_examples(zerrow):
    done = zerrow.run("--help")
    assert done.returncode == 0
    assert done.stderr == ""
    assert all(f"  {command} " in done.stdout for command in COMMANDS)
    assert "Examples:" in done.stdout
    assert "130 interrupted" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(zerrow, command):
    done = zerrow.run(command, "--help")
    assert done.returncode == 0
    assert f"zerrow {command}" in done.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "zerrow --help"),
        (["walk"], "zerrow --help"),
        (["run", "--jbos", "3"], "zerrow run --help"),
        (["run", "--param", "origin"], "NAME=VALUE"),
        (["run", "--backend", "magic"], "full-copy"),
        (["run", "-O", "xml"], "json"),
        (["run", "--jobs", "many"], "zerrow run --help"),
        (["show"], "MODEL"),
        (["init"], "DIR"),
    ],
)
def test_wrong_usage_is_told_on_stderr_with_code_2(zerrow, words, told):
    done = zerrow.run(*words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert told in done.stderr
    assert done.stderr.startswith("zerrow")


def test_version_as_text_and_json(zerrow):
    text = zerrow.run("version").stdout
    assert text == zerrow.run("--version").stdout
    versions = zerrow.json("version")
    assert f"zerrow {versions['zerrow']} (Arrow {versions['arrow']})\n" == text


def test_version_is_the_package_s(zerrow):
    import importlib.metadata

    try:
        installed = importlib.metadata.version("zerrow")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("not installed")
    assert zerrow.json("version")["zerrow"] == installed


def test_answers_at_once(zerrow):
    zerrow.run("version")
    start = time.monotonic()
    zerrow.run("version")
    assert time.monotonic() - start < 0.5  # the aim is 0.2 s; machines that run tests are busy


def test_info_says_what_there_is_and_that_it_is_no_security_boundary(zerrow):
    info = zerrow.json("info")
    assert {backend["name"] for backend in info["backends"]} >= {"memfd", "copy", "full-copy"}
    assert info["auto_backend"] in {b["name"] for b in info["backends"] if b["available"]}
    assert info["isolation"]["security_boundary"] is False
    text = zerrow.run("info")
    assert text.returncode == 0
    assert "not yet a security boundary" in text.stdout


def test_json_is_the_only_thing_on_stdout(zerrow):
    document = zerrow.run("version", "-O", "json").stdout
    assert json.loads(document)


def test_the_documentation_is_up_to_date():
    script = ROOT / "scripts" / "cli_docs.py"
    spec = importlib.util.spec_from_file_location("cli_docs", script)
    cli_docs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(cli_docs)
    assert (ROOT / "docs" / "cli.md").read_text() == cli_docs.document(), "run: make docs"


def test_the_package_can_be_run_as_a_module(zerrow):
    command = [sys.executable, "-P", "-m", "zerrow", "version"]
    as_module = subprocess.run(
        command, env=zerrow.environment, capture_output=True, text=True, check=True
    )
    assert as_module.stdout == zerrow.run("version").stdout
