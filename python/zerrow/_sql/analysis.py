"""What a query reads and returns: its tables, the columns that it can need, those that it makes.

A column can only be read by naming it, unless there is a star or one of a few other constructs. So
the columns of a table are those whose names occur in the query at all (after another table's alias
they don't count). That is more than an engine's planner would find, but never less, and needs no
knowledge of how an engine resolves names. Where the query has something that reads columns without
naming them, all columns are read.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.scope import Scope, traverse_scope
from zerrow._errors import SqlError
from zerrow._sql.text import check_depth, parse_statements

# DataFusion's SQL is closest to PostgreSQL's; what that parser doesn't know, another may.
_DIALECTS = {"datafusion": ("postgres", "duckdb", ""), "duckdb": ("duckdb",)}
_TABLE_FUNCTIONS = {
    "generate_series",
    "exploding_generate_series",
    "unnest",
    "repeat",
    "repeat_row",
}
# What gives something a name, or is looked at as a whole.
_NAMING = (exp.Alias, exp.CTE, exp.Column, exp.Lambda, exp.Table, exp.TableAlias)
# sqlglot logs what it can't parse as a statement, which is reported as an error anyway.
logging.getLogger("sqlglot").setLevel(logging.CRITICAL)


@dataclass
class TableUse:
    """A table that the query reads: `name` as the engine looks it up."""

    name: str
    line: int
    columns: set[str] | None = field(default_factory=set)  # lower case; None: all may be read


@dataclass
class Reference:
    """A column that the query names after the alias of a table."""

    table: str
    column: str
    line: int


def dialect_of(engine: str) -> str:
    """The dialect in which an engine's texts are tokenized."""
    return _DIALECTS[engine][0]


def analyze(sql: str, engine: str) -> "Query":
    """Reads a query that must be one SELECT; raises SqlError."""
    return Query(_parse(sql, engine), folds_case=engine == "datafusion")


def compared_columns(sql: str, engine: str) -> set[str] | None:
    """Columns, in lower case, that a query groups or tells rows apart by; None: perhaps any.

    Also those that windows and aggregates sort by, but not those of a query's ORDER BY. Raises
    SqlError.
    """
    tree = _parse(sql, engine)
    if any(tree.find_all(exp.Distinct, exp.SetOperation)):
        return None
    names: set[str] = set()
    for clause in tree.find_all(exp.Order, exp.Group, exp.Window):
        if isinstance(clause, exp.Order) and isinstance(clause.parent, exp.Query):
            continue
        if any(literal.is_int for literal in clause.find_all(exp.Literal)):
            return None  # the number of a column
        names.update(column.name.lower() for column in clause.find_all(exp.Column))
    renamed = {alias.alias.lower() for alias in tree.find_all(exp.Alias)}
    renamed |= {
        name.name.lower() for table in tree.find_all(exp.TableAlias) for name in table.columns
    }
    return None if names & renamed else names


def _parse(sql: str, engine: str) -> exp.Query:
    first: SqlError | None = None
    for dialect in _DIALECTS[engine]:
        try:
            statements = parse_statements(sql, dialect)
        except SqlError as problem:
            first = first or problem
            continue
        if len(statements) != 1:
            what = "is empty" if not statements else f"has {len(statements)} statements"
            raise SqlError(f"the file {what}: a SQL model is one SELECT")
        if isinstance(statements[0], exp.Query) and statements[0].find(exp.Into) is None:
            check_depth(statements[0])
            return statements[0]
        first = first or SqlError(f"a SQL model is one SELECT, not {statements[0].key.upper()}")
    raise first or SqlError("this is not SQL")


class Query:
    """What is known of a query: the `tables` that it reads, `references` to their columns, and the
    names of the columns that it makes, `output`, where each is written; else None.
    """

    def __init__(self, tree: exp.Query, *, folds_case: bool) -> None:
        self._tree = tree
        self._folds_case = folds_case
        self.tables: dict[str, TableUse] = {}
        self.references: list[Reference] = []
        self._aliases: dict[str, list[TableUse | None]] = {}  # None: of something else
        self._nodes: dict[int, TableUse] = {}
        self._find_tables()
        if self._reads_unnamed():
            self._read_all(self.tables.values())
        else:
            for column in tree.find_all(exp.Column):
                self._note_column(column)
            for identifier in tree.find_all(exp.Identifier):
                # Of columns in USING, and wherever else a column may be no exp.Column.
                if not isinstance(identifier.parent, _NAMING):
                    self._note_name(identifier.name)
            for star in tree.find_all(exp.Star):
                self._note_star(star)
        self.output = self._output()

    def _name_of(self, identifier: exp.Expr) -> str:
        """A name as the engine looks it up."""
        name: str = identifier.name
        quoted = isinstance(identifier, exp.Identifier) and identifier.quoted
        return name if quoted or not self._folds_case else name.lower()

    def _find_tables(self) -> None:
        ctes = self._cte_references()
        for node in self._tree.find_all(exp.Table):
            if id(node) in ctes:
                self._alias(node.alias_or_name, None)
            elif isinstance(node.this, exp.Identifier):
                self._add_table(node)
            else:
                _refuse_function(node)
        for subquery in self._tree.find_all(exp.Subquery, exp.Lateral, exp.Unnest, exp.Values):
            self._alias(subquery.alias_or_name, None)

    def _cte_references(self) -> set[int]:
        try:
            scopes = traverse_scope(self._tree)
        except SqlglotError as problem:
            raise SqlError(str(problem).split("\n")[0]) from None
        found: set[int] = set()
        for scope in scopes:
            for table in scope.tables:
                if isinstance(scope.sources.get(table.alias_or_name), Scope):
                    found.add(id(table))
        return found

    def _add_table(self, node: exp.Table) -> None:
        line = line_of(node)
        if node.args.get("db") is not None or node.args.get("catalog") is not None:
            shown = ".".join(part.name for part in node.parts)
            raise SqlError(f"{shown}: a model's name has no schema before it", line)
        name = self._name_of(node.this)
        if "/" in name or name.lower().endswith((".parquet", ".csv", ".json")):
            raise SqlError(f"{name!r} is a file: declare it in the project file's sources", line)
        key = name if self._folds_case else name.lower()
        table = self.tables.setdefault(key, TableUse(name, line))
        self._nodes[id(node)] = table
        self._alias(node.alias_or_name, table)
        alias = node.args.get("alias")
        if alias is not None and alias.args.get("columns"):
            table.columns = None  # AS a(x, y) gives its columns other names

    def _alias(self, name: str, table: TableUse | None) -> None:
        if name:
            self._aliases.setdefault(name.lower(), []).append(table)

    def _reads_unnamed(self) -> bool:
        """Constructs that read columns which the query doesn't name."""
        if self._tree.find(exp.Pivot, exp.Columns) is not None:
            return True
        if any(node.name.lower() == "columns" for node in self._tree.find_all(exp.Anonymous)):
            return True
        return any(
            str(join.args.get("method", "")).upper() == "NATURAL"
            for join in self._tree.find_all(exp.Join)
        )

    def _note_column(self, column: exp.Column) -> None:
        if isinstance(column.this, exp.Star):
            return
        qualifier, *rest = column.parts
        owners = self._aliases.get(qualifier.name.lower(), []) if rest else []
        if not owners or None in owners:
            for part in column.parts:
                self._note_name(part.name)
            return
        for owner in owners:
            if owner is not None and owner.columns is not None:
                owner.columns.add(rest[0].name.lower())
        if len(owners) == 1 and owners[0] is not None:
            name = self._name_of(rest[0])
            self.references.append(Reference(owners[0].name, name, line_of(column)))

    def _note_name(self, name: str) -> None:
        """A name that may be any table's column, or stand for all columns of a table."""
        for table in self.tables.values():
            if table.columns is not None:
                table.columns.add(name.lower())
        self._read_all(owner for owner in self._aliases.get(name.lower(), []) if owner)

    def _note_star(self, star: exp.Star) -> None:
        parent = star.parent
        if isinstance(parent, exp.Count):
            return
        if isinstance(parent, exp.Column) and len(parent.parts) == 2:
            owners = self._aliases.get(parent.parts[0].name.lower(), [])
            self._read_all(owner for owner in owners if owner)
        elif isinstance(parent, exp.Select):
            for node in parent.find_all(exp.Table):
                if node.find_ancestor(exp.Select) is parent and id(node) in self._nodes:
                    self._nodes[id(node)].columns = None
        else:
            self._read_all(self.tables.values())

    @staticmethod
    def _read_all(tables: Iterable[TableUse]) -> None:
        for table in tables:
            table.columns = None

    def _output(self) -> list[str] | None:
        written = [
            item.args["alias"] if isinstance(item, exp.Alias) else item.this
            for item in self._tree.selects
            if isinstance(item, exp.Alias | exp.Column) and not item.is_star
        ]
        if not written or len(written) < len(self._tree.selects):
            return None
        return [self._name_of(name) for name in written]


def _refuse_function(node: exp.Table) -> None:
    function = node.this
    name = function.name if isinstance(function, exp.Anonymous) else function.sql_name()
    if name.lower() not in _TABLE_FUNCTIONS:
        raise SqlError(
            f"{name.lower()}() can't be read from: declare files in the project file's sources",
            line_of(node),
        )


def line_of(node: exp.Expr) -> int:
    """The line on which the first name of a part of the query is written."""
    for identifier in node.find_all(exp.Identifier, bfs=False):
        line = identifier.meta.get("line")
        if isinstance(line, int):
            return line
    return 1
