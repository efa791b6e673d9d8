"""Names without quotes: each stands for the only column that it names, whatever the capitals.

DataFusion reads them as lower case, so that `PULocationID` finds nothing. Here those that name a
known column are put in quotes as it is spelled; all else of the text stays, and the engine judges
it. What a name may refer to is found by sqlglot's scopes.
"""

from collections.abc import Iterable, Mapping, Sequence

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.scope import Scope, find_all_in_scope, traverse_scope
from zerrow._errors import SqlError
from zerrow._sql.text import check_depth, quoted

DIALECT = "postgres"
_TOO_DEEP = "it is nested too deeply"  # the engine would take all of its stack

Columns = Sequence[str] | None  # None: not known


def exact_query(sql: str, schemas: Mapping[str, Sequence[str]]) -> str:
    """The query with the columns' names as they are spelled; `schemas` has each table's columns.

    Raises SqlError for a name that could be several columns of one table.
    """
    if all(name == name.lower() for names in schemas.values() for name in names):
        return sql
    try:
        tree = sqlglot.parse_one(sql, dialect=DIALECT)
        check_depth(tree)
        scopes = traverse_scope(tree)
    except SqlglotError:
        return sql  # what the engine says of it is said instead
    except RecursionError:
        raise SqlError(_TOO_DEEP) from None
    resolver = _Resolver(schemas)
    for scope in scopes:
        resolver.resolve(scope)
    return _spelled(sql, resolver.found.values())


def exact_expression(text: str, columns: Sequence[str]) -> str:
    """The same of a condition or value over the rows of one table."""
    try:
        tree = sqlglot.parse_one(text, into=exp.Condition, dialect=DIALECT)
    except SqlglotError:
        return text
    except RecursionError:
        raise SqlError(_TOO_DEEP) from None
    if tree is None:
        return text
    check_depth(tree)
    found = []
    for column in tree.find_all(exp.Column):
        identifier = column.parts[0]
        name = _only(identifier.name, columns) if _is_open(identifier) else None
        if name is not None:
            found.append((identifier, name))
    return _spelled(text, found)


def _is_open(identifier: exp.Expr) -> bool:
    return isinstance(identifier, exp.Identifier) and not identifier.quoted


def _only(name: str, columns: Iterable[str]) -> str | None:
    """The column that a name without quotes stands for; SqlError if it could be several.

    One that is spelled just so is meant, whatever others there are.
    """
    known = list(columns)
    if name in known:
        return name
    same = list(dict.fromkeys(one for one in known if one.lower() == name.lower()))
    if len(same) > 1:
        quoted = " or ".join(f'"{one}"' for one in same)
        raise SqlError(f"{name} could be the column {quoted}: write it in double quotes")
    return same[0] if same else None


def _spelled(text: str, found: Iterable[tuple[exp.Expr, str]]) -> str:
    metas = [(one.meta, name) for one, name in found if "start" in one.meta]
    places = [(meta["start"], meta["end"], name) for meta, name in metas]
    for start, end, name in sorted(places, reverse=True):
        text = text[:start] + quoted(name) + text[end + 1 :]
    return text


class _Resolver:
    """Goes through scopes, inner ones first; `found` has identifiers and what they stand for."""

    def __init__(self, schemas: Mapping[str, Sequence[str]]) -> None:
        self._schemas = schemas
        self._outputs: dict[int, Columns] = {}  # by the scope's expression
        self.found: dict[int, tuple[exp.Expr, str]] = {}

    def resolve(self, scope: Scope) -> None:
        for column in [*scope.columns, *_conditions(scope)]:
            parts = column.parts
            name = self._meant(scope, parts)
            if name is None:
                continue
            identifier = parts[1] if len(parts) > 1 and self._source(scope, parts[0]) else parts[0]
            self.found[id(identifier)] = (identifier, name)
        if isinstance(scope.expression, exp.Select):
            self._resolve_using(scope)
        self._outputs[id(scope.expression)] = output = self._output(scope)
        if isinstance(scope.expression, exp.SetOperation):
            for column in scope.columns:  # its ORDER BY
                if _is_open(column.this) and len(column.parts) == 1:
                    name = _only(column.name, output or ())
                    if name is not None:
                        self.found[id(column.this)] = (column.this, name)

    def _meant(self, scope: Scope, parts: Sequence[exp.Expr]) -> str | None:
        """What a column that is written without quotes is called."""
        try:
            if len(parts) > 1:
                source = self._source(scope, parts[0])
                if source is not None:
                    columns = self._columns(source)
                    return _only(parts[1].name, columns or ()) if _is_open(parts[1]) else None
            return self._unqualified(scope, parts[0]) if _is_open(parts[0]) else None
        except SqlError as problem:
            problem.line = parts[-1].meta.get("line", 1)
            raise

    def _unqualified(self, scope: Scope | None, identifier: exp.Expr) -> str | None:
        own = scope
        while scope is not None:
            if scope is own and _names_output(scope, identifier):
                return None
            sources = [self._columns(source) for source in scope.sources.values()]
            if any(columns is None for columns in sources):
                return None  # it may be there
            found = {_only(identifier.name, columns or ()) for columns in sources} - {None}
            if found:
                # Several that are spelled alike are the engine's to refuse, or USING's.
                return _only(identifier.name, filter(None, found))
            scope = scope.parent
        return None

    @staticmethod
    def _source(scope: Scope | None, qualifier: exp.Expr) -> exp.Table | Scope | None:
        wanted = qualifier.name
        while scope is not None:
            for name, source in scope.sources.items():
                if name == wanted or (_is_open(qualifier) and name.lower() == wanted.lower()):
                    return source
            scope = scope.parent
        return None

    def _columns(self, source: exp.Table | Scope) -> Columns:
        if isinstance(source, Scope):
            alias = source.expression.args.get("alias")
            if isinstance(alias, exp.TableAlias) and alias.columns:
                return [_folded(one) for one in alias.columns]
            return self._outputs.get(id(source.expression))
        alias = source.args.get("alias")
        if alias is not None and alias.columns:
            return [_folded(one) for one in alias.columns]
        table = source.this
        return self._schemas.get(_folded(table)) if isinstance(table, exp.Identifier) else None

    def _resolve_using(self, scope: Scope) -> None:
        """USING (Id) is right as it is written only if both sides spell it so."""
        for join in scope.expression.args.get("joins") or ():
            for written in join.args.get("using") or ():
                identifier = written.this if isinstance(written, exp.Column) else written
                sources = [self._columns(source) for source in scope.sources.values()]
                found = {_only(identifier.name, columns or ()) for columns in sources} - {None}
                if _is_open(identifier) and len(found) == 1:
                    self.found[id(identifier)] = (identifier, str(found.pop()))

    def _output(self, scope: Scope) -> Columns:
        """The columns that a query makes."""
        query = scope.expression
        while isinstance(query, exp.SetOperation | exp.Subquery):
            query = query.this
        parent = scope.expression.parent
        alias = parent.args.get("alias") if isinstance(parent, exp.CTE | exp.Subquery) else None
        if isinstance(alias, exp.TableAlias) and alias.columns:
            return [_folded(one) for one in alias.columns]
        if query is not scope.expression:
            return self._outputs.get(id(query))
        if not isinstance(query, exp.Select):
            return None
        names: list[str] = []
        for item in query.expressions:
            made = self._made(scope, item)
            if made is None:
                return None
            names += made
        return names

    def _made(self, scope: Scope, item: exp.Expr) -> Columns:
        """The columns that an entry of a SELECT makes."""
        if isinstance(item, exp.Alias):
            return [_folded(item.args["alias"])]
        if isinstance(item, exp.Star) or (
            isinstance(item, exp.Column) and isinstance(item.this, exp.Star)
        ):
            star = item if isinstance(item, exp.Star) else item.this
            if any(star.args.values()):
                return None  # EXCEPT, REPLACE
            sources = list(scope.sources.values())
            if isinstance(item, exp.Column):
                source = self._source(scope, item.parts[0])
                sources = [] if source is None else [source]
            columns = [self._columns(source) for source in sources]
            if not columns or None in columns:
                return None
            return [name for names in columns for name in names or ()]
        if isinstance(item, exp.Column):
            found = self.found.get(id(item.this))
            return [found[1] if found else _folded(item.this)]
        return []  # its name can't be written without quotes


def _folded(identifier: exp.Expr) -> str:
    """A name as DataFusion reads it."""
    name = str(identifier.name)
    return name.lower() if _is_open(identifier) else name


def _conditions(scope: Scope) -> list[exp.Column]:
    """The columns in HAVING and QUALIFY, which a scope doesn't count among its own."""
    clauses = (scope.expression.args.get(clause) for clause in ("having", "qualify"))
    return [
        column for clause in clauses if clause for column in find_all_in_scope(clause, exp.Column)
    ]


def _names_output(scope: Scope, identifier: exp.Expr) -> bool:
    """Whether the name is one that the SELECT has given, where that goes first."""
    if identifier.find_ancestor(exp.Order, exp.Having, exp.Qualify) is None:
        return False
    if not isinstance(scope.expression, exp.Select):
        return False
    aliases = (one.alias for one in scope.expression.expressions if isinstance(one, exp.Alias))
    return any(alias.lower() == identifier.name.lower() for alias in aliases)
