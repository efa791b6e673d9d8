"""What a worker imports to call a function: where its model has an environment of its own, there is
pyarrow, and none of Zerrow's other dependencies.
"""

import subprocess
import sys

MISSING = ("yaml", "msgspec", "sqlglot", "datafusion", "numpy", "pandas", "polars", "duckdb")


def test_functions_are_called_without_any_dependency_but_pyarrow():
    code = f"""
import sys
sys.modules.update(dict.fromkeys({MISSING}))
import zerrow, zerrow.compute, zerrow.standard_expectations
from zerrow._worker import zygote
from zerrow._worker.preload import preload
preload("sqlglot,pyarrow.parquet,pandas")
import pyarrow as pa
from zerrow._worker import convert
from zerrow._worker.tasks import narrow
table = pa.table({{"a": [3, 1], "b": ["x", "y"]}})
assert narrow(table, ["b"], None).column_names == ["b"]
assert convert.to_table([{{"a": 1}}], "f").num_rows == 1
assert zerrow.compute.sort(table, "a")["a"].to_pylist() == [1, 3]
print(sorted(name for name, module in sys.modules.items() if module and name in {MISSING}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr


def test_another_arrow_than_the_one_of_the_binaries_is_refused():
    code = "import pyarrow; pyarrow.cpp_version = '1.0.0'\n"
    code += "from zerrow._worker.preload import preload; preload('')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "is Arrow 1.0.0; Zerrow needs" in done.stderr
