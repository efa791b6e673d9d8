"""Which columns each column of a query's result stems from: those that its value is made of.

sqlglot follows them. What only decides which rows there are (WHERE, ON, GROUP BY, ORDER BY) doesn't
count. Where it isn't certain, nothing is said.
"""

import re
from collections.abc import Mapping, Sequence

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.lineage import Node, lineage
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import build_scope
from sqlglot.schema import MappingSchema
from zerrow._errors import SqlError
from zerrow._sql.analysis import dialect_of
from zerrow._sql.names import exact_query
from zerrow._sql.text import check_depth

Stems = list[tuple[str, str]] | None  # tables and their columns; None: not known

_MOST_COLUMNS = 1000  # sqlglot takes time by the square of their number
# What reads columns, or rows, that it doesn't name.
_UNNAMED = (exp.Columns, exp.Exists, exp.Pivot, exp.TableColumn)


def column_lineage(
    sql: str, engine: str, schemas: Mapping[str, Sequence[str]], output: Sequence[str]
) -> list[Stems]:
    """The stems of each column of the output; `schemas` has the columns of the query's tables."""
    if len(output) > _MOST_COLUMNS:
        return [None] * len(output)
    try:
        exact = exact_query(sql, schemas) if engine == "datafusion" else sql
        names = _Names(schemas, folds=engine == "duckdb")
        return _followed(exact, dialect_of(engine), names, output)
    except (SqlError, SqlglotError, RecursionError):
        return [None] * len(output)


class _Names:
    """The tables' columns as sqlglot looks them up, which folds names of DuckDB's SQL."""

    def __init__(self, schemas: Mapping[str, Sequence[str]], *, folds: bool) -> None:
        self._stems = [(table, name) for table, names in schemas.items() for name in names]
        spelled = [(t.lower(), n.lower()) if folds else (t, n) for t, n in self._stems]
        self._places = {key: place for place, key in enumerate(spelled)}
        if len(self._places) < len(spelled):
            raise SqlError("only capitals tell columns apart")
        self.schema: dict[str, object] = {
            table: {name: "UNKNOWN" for owner, name in spelled if owner == table}
            for table, _ in spelled
        }

    def stems(self, column: Node) -> Stems:
        """Those at the ends of what sqlglot has followed."""
        found = set()
        for step in column.walk():
            if isinstance(step.expression, exp.Table):
                key = step.expression.name, exp.to_column(step.name).name
                if key not in self._places or step.expression.alias_column_names:
                    return None
                found.add(self._places[key])
            elif _is_uncertain(step.expression):
                return None
        return [self._stems[place] for place in sorted(found)]


def _is_uncertain(step: exp.Expr) -> bool:
    """Whether sqlglot couldn't follow an expression, or doesn't see all that it reads."""
    if step.is_star or isinstance(step, exp.Placeholder | exp.Select | exp.SetOperation):
        return True
    named = (window for window in step.find_all(exp.Window) if window.args.get("alias"))
    return step.find(*_UNNAMED) is not None or any(named)


def _followed(sql: str, dialect: str, names: _Names, output: Sequence[str]) -> list[Stems]:
    tree = sqlglot.parse_one(sql, dialect=dialect)
    check_depth(tree)
    if _goes_by_places(tree):
        raise SqlError("a star over merged columns has them in an order that only the engine knows")
    schema = MappingSchema(names.schema, dialect=dialect, normalize=False)
    tree = qualify(tree, schema=schema, dialect=dialect)
    if not isinstance(tree, exp.Query) or not _makes(tree, output):
        raise SqlError("the engine makes other columns of it, or in another order")
    for query in tree.find_all(exp.SetOperation):
        if query.args.get("by_name"):
            raise SqlError("sqlglot takes its columns by their places")
        if not isinstance(query, exp.Union):  # whose second part only says which rows there are
            query.set("expression", exp.select(*[exp.null()] * len(query.selects)))
    for place, item in enumerate(tree.selects):
        item.set("alias", exp.to_identifier(f"_{place}"))  # so that no two are called the same
    options = {"scope": build_scope(tree), "trim_selects": False, "copy": False}
    columns = [f"_{place}" for place in range(len(output))]
    return [
        names.stems(lineage(name, tree, schema, dialect=dialect, **options)) for name in columns
    ]


def _goes_by_places(tree: exp.Expr) -> bool:
    """Whether a star's columns may be told apart by their places, some of which USING merges."""
    merged = any(
        join.args.get("using") or join.method == "NATURAL" for join in tree.find_all(exp.Join)
    )
    places = any(query.columns for query in tree.find_all(exp.TableAlias))
    return (
        merged
        and tree.find(exp.Star) is not None
        and (places or tree.find(exp.SetOperation) is not None)
    )


def _makes(query: exp.Query, output: Sequence[str]) -> bool:
    """Whether these are the columns that sqlglot thinks; DuckDB appends numbers to some names."""
    if len(query.selects) != len(output):
        return False
    for item, name in zip(query.selects, output, strict=True):
        wanted = re.escape(item.output_name) + r"(_\d+)?"
        if isinstance(item.unalias(), exp.Column) and not re.fullmatch(wanted, name, re.IGNORECASE):
            return False
    return True
