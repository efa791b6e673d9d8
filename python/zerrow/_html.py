"""What notebooks show: tables and results as HTML. All that comes from data is escaped."""

import html
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa
    from zerrow._reports import RunReport

_MOST_ROWS = 20
_MOST_COLUMNS = 30
_MOST_MODELS = 200
_LONGEST = 200  # characters of a cell


def table_html(table: "pa.Table") -> str:
    """The first rows and columns of a table with their types, and how many there are."""
    fields = list(table.schema)[:_MOST_COLUMNS]
    heads = [f"{_text(field.name)}<br><small>{_text(field.type)}</small>" for field in fields]
    shown = table.slice(0, _MOST_ROWS)
    columns = [[_text(_value(cell)) for cell in shown.column(i)] for i in range(len(fields))]
    rows = zip(*columns, strict=True)
    size = f"{table.num_rows:,} rows, {table.num_columns:,} columns"
    return _table(heads, rows) + f"<p>{size}</p>"


def report_html(report: "RunReport") -> str:
    """How a run went, its models one by one, and what was wrong."""
    rows = []
    for model in report.models[:_MOST_MODELS]:
        size = "" if model.rows is None else f"{model.rows:,}"
        cells = [model.name, model.status, size, f"{model.bytes:,}", f"{model.wall_s:.2f}"]
        rows.append([_text(cell) for cell in cells])
    parts = [f"<p><b>{_text(report.status)}</b> in {report.wall_s:.2f} s</p>"]
    if rows:
        parts.append(_table(["model", "status", "rows", "bytes", "seconds"], rows))
    if len(report.models) > _MOST_MODELS:
        parts.append(f"<p>and {len(report.models) - _MOST_MODELS:,} more</p>")
    found = [*report.errors, *(model.error for model in report.models if model.error)]
    parts.extend(f"<pre>{html.escape(str(problem))}</pre>" for problem in found[:_MOST_MODELS])
    return "".join(parts)


def ipython_shell() -> Any:  # noqa: ANN401 - without types
    """IPython's shell, if this process has one."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython is not None else None


def show_tables() -> None:
    """In a notebook, where a pyarrow.Table would be shown as text, it is shown as `table_html`."""
    formatter = ipython_shell().display_formatter.formatters["text/html"]
    try:
        formatter.lookup_by_type("pyarrow.lib.Table")  # the user's own
    except KeyError:
        formatter.for_type_by_name("pyarrow.lib", "Table", table_html)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{cell}</th>" for cell in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _value(cell: "pa.Scalar") -> Any:  # noqa: ANN401
    try:
        return cell.as_py()
    except Exception:  # a time that Python has no value for, text that isn't UTF-8
        return cell


def _text(value: object) -> str:
    text = "null" if value is None else str(value)
    return html.escape(text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…")
