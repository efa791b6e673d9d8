"""SQL models over a file's texts: each is stored once, whatever filters, joins and sorts do."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zerrow

ROWS = 240_000
CUSTOMERS = [
    f"customer number {i:05} of a street in a town far away from here" for i in range(4000)
]
MODES = [f"sent by {name}, as it was agreed" for name in ("air", "mail", "rail", "ship", "truck")]
LABELS = [f"the label that belongs to the key {i:03}" for i in range(500)]
YML = "name: p\nsources: {orders: orders.parquet, labels: labels.parquet}\n"
MODELS = {
    # With a function, as rows that the read filters are stored by it.
    "filtered": "SELECT * FROM orders WHERE abs(number) < 600000",
    "joined": "SELECT f.*, label FROM filtered f JOIN labels ON key = id",
    "sorted": "SELECT * FROM joined ORDER BY customer, number",
    "newest": "SELECT DISTINCT ON (customer) * FROM joined ORDER BY customer, number DESC",
    "top": "SELECT customer, label, number FROM joined ORDER BY number DESC LIMIT 50000",
    "before": "SELECT customer, lag(mode) OVER (ORDER BY number) AS mode FROM joined",
    "counted": "SELECT customer, label, count(*) AS n FROM joined GROUP BY customer, label",
}
# Bytes of new indices and numbers of a row of each; `newest` is given plain texts.
WIDTHS = {
    "filtered": 2 * 8 + 2 * 4,
    "joined": 2 * 8 + 3 * 4,
    "sorted": 2 * 8 + 3 * 4,
    "top": 8 + 2 * 4,
    "before": 2 * 4,
    "counted": 8 + 2 * 4,
}


def write(folder, *, encoded):
    """The files with texts in dictionary pages, or with each row's text."""
    draw = np.random.default_rng(1)
    orders = pa.table(
        {
            "key": draw.integers(0, 600, ROWS),
            "number": draw.permutation(1_000_000)[:ROWS],
            "customer": pa.array(CUSTOMERS).take(pa.array(draw.integers(0, 4000, ROWS))),
            "mode": pa.array([*MODES, None]).take(pa.array(draw.integers(0, 6, ROWS))),
        }
    )
    # Text that differs in all rows isn't a dictionary unless the file's schema says so.
    label = pa.array(LABELS).dictionary_encode() if encoded else pa.array(LABELS)
    labels = pa.table({"id": range(len(LABELS)), "label": label})
    for name, table in (("orders", orders), ("labels", labels)):
        file = folder / f"{name}.parquet"
        pq.write_table(table, file, row_group_size=ROWS // 3, use_dictionary=encoded)


@pytest.fixture
def folder(project):
    files = {f"models/{name}.sql": f"{sql}\n" for name, sql in MODELS.items()}
    folder = project({"zerrow_project.yml": YML, **files})
    write(folder, encoded=True)
    return folder


def run(folder, **options):
    """The models of a report, and their tables as anybody sees them."""
    done = zerrow.run(folder, keep=list(MODELS), **options)
    models = {model["name"]: model for model in done.report.document["models"]}
    return models, {name: done.table(name) for name in MODELS}


def stored(model):
    return model["new_bytes"] + model["copied_bytes"]


def test_texts_are_stored_once(folder):
    models, _ = run(folder, backend="memfd")
    for name, width in WIDTHS.items():
        model = models[name]
        assert model["rows"] > 3000, name
        # Validity and the message's own bytes besides. With a text, a row would have 64 bytes more.
        assert stored(model) < 1.1 * width * model["rows"] + 200_000, name
        assert model["reshared_bytes"] >= sum(map(len, CUSTOMERS)), name


def test_the_rows_are_those_of_plain_texts(folder):
    models, tables = run(folder)
    write(folder, encoded=False)
    plain_models, plain_tables = run(folder)
    for name, table in tables.items():
        rows, plain = table.to_pylist(), plain_tables[name].to_pylist()
        if name not in ("sorted", "newest", "top"):
            rows, plain = sorted(map(repr, rows)), sorted(map(repr, plain))
        assert rows == plain, name
    for name in ("filtered", "joined", "sorted", "top", "before"):
        assert 2 * stored(models[name]) < stored(plain_models[name]), name
