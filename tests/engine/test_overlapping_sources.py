"""Sources that have files in common, read at once by many runs, share their texts' dictionary."""

import json
import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROWS = 2000
FILES_OF = {"a": "0123", "b": "2345", "c": "05", "d": "14"}


@pytest.fixture
def texts(tmp_path):
    """Of each file; neighbours have some in common."""
    folder = tmp_path / "project"
    folder.mkdir()
    sources = "".join(f"  {name}: '[{files}].parquet'\n" for name, files in FILES_OF.items())
    (folder / "zerrow_project.yml").write_text(f"name: overlapping\nsources:\n{sources}")
    choose = random.Random(3)
    texts = {}
    for i in range(6):
        texts[str(i)] = [f"text {choose.randrange(i * 20, i * 20 + 60)}" for _ in range(ROWS)]
        pq.write_table(pa.table({"s": texts[str(i)]}), folder / f"{i}.parquet")
    for name in FILES_OF:
        query = f"SELECT s, count(*) AS c FROM {name} GROUP BY s ORDER BY s"
        (folder / f"of_{name}.sql").write_text(query)
    time.sleep(0.06)  # so that the files' times tell changes, and the cache keeps them
    return texts


@pytest.mark.parametrize("size", ["40kB", "100MB"])
def test_whatever_goes_meanwhile_each_text_is_right(nobody, tmp_path, texts, size):
    folder = tmp_path / "project"

    def run(seed):
        choose = random.Random(seed)
        name = choose.choice(list(FILES_OF))
        if choose.random() < 0.2:
            nobody.run("cache", "clear")
        model = f"of_{name}"
        done = nobody.run("run", "-p", folder, "-O", "json", "--preview", 1000, "--select", model)
        assert done.returncode == 0, done.stderr
        (preview,) = json.loads(done.stdout)["previews"]
        expected = Counter(text for file in FILES_OF[name] for text in texts[file])
        assert [tuple(row) for row in preview["rows"]] == sorted(expected.items())

    nobody.engine = nobody.popen("engine", "start", "--foreground", "--cache-size", size)
    assert "engine started" in nobody.engine.stdout.readline()
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(run, range(20)))
        assert nobody.run("cache", "clear").returncode == 0
        # Whatever was replaced has been let go of.
        nobody.wait_for(lambda status: status["memory"]["tables"] == 0)
    finally:
        nobody.end()
