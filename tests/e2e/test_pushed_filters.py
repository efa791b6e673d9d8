"""A query's WHERE goes into the read of its source, as an input's filter does."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zerrow


@pytest.mark.parametrize("engine", ["datafusion", "duckdb"])
def test_a_query_reads_only_what_it_keeps(tmp_path, engine):
    numbers = np.arange(1_000_000)
    table = pa.table({"Id": numbers, "x": numbers * 0.5, "unread": numbers})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=100_000)
    (tmp_path / "zerrow_project.yml").write_text("name: p\nsources: {t: t.parquet}\n")
    (tmp_path / "few.sql").write_bytes(
        b"\xef\xbb\xbf-- t is read\r\n-- zerrow: engine=%s\r\n"
        b"SELECT id, x\r\nFROM t\r\nWHERE id < 66553\r\n" % engine.encode()
    )
    (tmp_path / "late.py").write_text(
        "import zerrow\n\n@zerrow.model()\n"
        "def late(t=zerrow.Model('t', columns=['x'], filter='ID < 66553')): return t\n"
    )
    result = zerrow.run(tmp_path)
    rows = {name: model.rows for name, model in result.models.items()}
    assert rows["t"] == 200_000  # a block of row groups
    assert {rows["t#2"], rows["t#3"], rows["few"], rows["late"]} == {66_553}
    found = result.table("few")
    assert found.column_names == ["Id", "x"]
    assert found["Id"].to_pylist() == list(range(66_553))
