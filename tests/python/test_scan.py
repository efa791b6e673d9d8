"""Plans: which blocks and columns are needed. What is read by them is in test_source_task.py."""

import random

import pytest
from zerrow._sources import scan
from zerrow._sources.scan import Part, Plan, Read, Step, needs_part, parts_of
from zerrow._sql.pruning import Always, Compare, Comparison, Family, Group, Unknown, Value

FULL = 1 << 17
KEEP = Always(True)


def test_blocks_are_full_but_for_the_last():
    assert parts_of(7, []) == []
    assert parts_of(7, [0, 0]) == [Part(7, 0, 2, 0)]
    assert parts_of(7, [FULL - 1, 1, FULL, 5, 0, 6]) == [
        Part(7, 0, 2, FULL),
        Part(7, 2, 1, FULL),
        Part(7, 3, 3, 11),
    ]
    assert parts_of(7, [FULL - 1, 3 * FULL]) == [Part(7, 0, 2, 4 * FULL - 1)]
    whole = parts_of(7, [FULL, FULL])
    assert [part.groups for part in whole] == [1, 1]


def test_a_part_is_needed_if_one_of_its_groups_is():
    groups = [Group(1), Group(0), Group(2)]
    x_is_1 = Compare("x", Comparison.EQ, Value(Family.EXACT, 1))
    assert needs_part(Part(0, 0, 2, 1), groups, x_is_1)
    assert not needs_part(Part(0, 1, 1, 0), groups, KEEP)
    assert needs_part(Part(0, 1, 2, 2), groups, Unknown())
    assert not needs_part(Part(0, 0, 3, 3), groups, Always(None))


def two_blocks(*reads, have=frozenset(), needed=None):
    parts = [parts_of(0, [FULL, FULL])]
    return Plan(parts, reads, needed or [set(parts[0])] * len(reads), have)


def filtered(columns, filter_columns):
    return Read(tuple(columns), Unknown(), tuple(filter_columns))


def test_filters_are_evaluated_before_the_rest_is_decoded():
    plan = two_blocks(filtered("abf", "f"))
    assert list(plan.first_steps()) == [Step(0, ("f",), (0,)), Step(1, ("f",), (0,))]
    plan.drop(0, 0)
    assert plan.rest() == [(1, "a"), (1, "b")]
    assert plan.needed_blocks(0) == [1]


def test_filters_that_can_save_nothing_are_not_evaluated():
    # All that the read needs are the filter's columns, or somebody needs the others anyway.
    assert [s.reads for s in two_blocks(filtered("fg", "gf")).first_steps()] == [(), ()]
    plan = two_blocks(filtered("af", "f"), Read(("a", "b"), KEEP))
    assert list(plan.first_steps()) == [Step(0, ("f", "a", "b"), ()), Step(1, ("f", "a", "b"), ())]
    assert plan.rest() == []
    # One that isn't read whole may still be saved.
    plan = two_blocks(filtered("abf", "f"), Read(("a",), KEEP))
    first, _ = plan.first_steps()
    assert first == Step(0, ("f", "a"), (0,))
    assert plan.rest() == [(0, "b"), (1, "b")]


def test_what_two_filters_leave_is_decoded_once():
    plan = two_blocks(filtered("afz", "f"), filtered("agz", "g"))
    first, _ = plan.first_steps()
    assert first == Step(0, ("f", "g"), (0, 1))
    plan.drop(0, 0)
    plan.drop(0, 1)
    plan.drop(1, 1)
    assert plan.rest() == [(0, "a"), (0, "z")]
    assert (plan.needed_blocks(0), plan.needed_blocks(1)) == ([], [0])


def test_what_the_engine_has_is_not_decoded():
    plan = two_blocks(Read(("a", "b"), KEEP), have={(0, 0, "a"), (0, 1, "b"), (1, 0, "b")})
    assert list(plan.first_steps()) == [Step(0, ("b",), ()), Step(1, ("a",), ())]
    assert plan.needed_blocks(0) == [0, 1]
    # The block is needed: its filter's column isn't here to look at.
    plan = two_blocks(filtered("abf", "f"), have={(0, 0, "f")})
    assert list(plan.first_steps()) == [Step(0, ("a", "b"), ()), Step(1, ("f",), (0,))]
    plan = two_blocks(filtered("af", "f"), have={(0, 0, "a"), (0, 1, "a")})
    assert list(plan.first_steps()) == [Step(0, ("f",), ()), Step(1, ("f",), ())]


def test_each_column_is_decoded_once_and_none_for_nothing():
    for seed in range(300):
        choose = random.Random(seed)
        parts = [parts_of(f, [FULL] * choose.randrange(4)) for f in range(3)]
        every = [part for own in parts for part in own]
        reads, needed = [], []
        for _ in range(choose.randrange(4)):
            columns = tuple(choose.sample("abcd", choose.randrange(5)))
            of_filter = columns[: choose.randrange(3)] if choose.random() < 0.6 else ()
            reads.append(filtered(columns, of_filter))
            needed.append({part for part in every if choose.random() < 0.7})
        have = {(p.file, p.first_group, c) for p in every for c in "abcd" if choose.random() < 0.2}
        plan = Plan(parts, reads, needed, have)
        decoded = []
        for step in plan.first_steps():
            decoded += [(step.block, name) for name in step.columns]
            for read in step.reads:
                assert set(reads[read].filter_columns) <= set(step.columns)
                if choose.random() < 0.5:
                    plan.drop(read, step.block)
        decoded += plan.rest()
        assert len(decoded) == len(set(decoded))
        keys = {
            (b, c): (plan.blocks[b].parts[0].file, plan.blocks[b].parts[0].first_group, c)
            for b in range(len(plan.blocks))
            for c in "abcd"
        }
        wanted = {
            (b, c)
            for i, read in enumerate(reads)
            for b in plan.needed_blocks(i)
            for c in read.columns
        }
        known = {unit for unit, key in keys.items() if key in have}
        assert wanted <= set(decoded) | known
        assert not known & set(decoded)
        of_filters = {
            (b, c)
            for i, read in enumerate(reads)
            for b in range(len(plan.blocks))
            if plan.blocks[b].parts[0] in needed[i]
            for c in read.filter_columns
        }
        assert set(decoded) <= wanted | of_filters


@pytest.mark.parametrize("rows", [[1], [1, 50, 3], [FULL, 1, 2]], ids=str)
def test_many_small_blocks_are_put_together(monkeypatch, rows):
    monkeypatch.setattr(scan, "MOST_ENTRIES", 12)
    parts = [parts_of(file, [rows[file % len(rows)]]) for file in range(40)]
    every = {part for own in parts for part in own}
    plan = Plan(parts, [Read(("a", "b", "c"), KEEP)], [every], {(0, 0, "a")})
    assert 1 < len(plan.blocks) <= 4
    assert [part for block in plan.blocks for part in block.parts] == sorted(
        every, key=lambda part: part.file
    )
    assert all(block.position is None for block in plan.blocks if len(block.parts) > 1)
    # What the engine has of parts is of no use to it.
    assert plan.needed_blocks(0) == list(range(len(plan.blocks)))
    (first, *_) = plan.first_steps()
    assert first.columns == ("a", "b", "c")


def test_only_what_is_needed_is_put_together(monkeypatch):
    monkeypatch.setattr(scan, "MOST_ENTRIES", 4)
    parts = [parts_of(file, [1]) for file in range(20)]
    odd = {part for own in parts for part in own if part.file % 2}
    some = {part for part in odd if part.file < 6}
    plan = Plan(parts, [Read(("a",), KEEP), Read(("a",), KEEP)], [odd, some])
    assert len(plan.blocks) <= 4
    assert {part for block in plan.blocks for part in block.parts} == odd
    assert plan.needed_blocks(0) == list(range(len(plan.blocks)))
    needed = {part for i in plan.needed_blocks(1) for part in plan.blocks[i].parts}
    assert some <= needed < odd
    # Few enough, they stay what they are.
    plan = Plan(parts, [Read(("a",), KEEP)], [some])
    assert len(plan.blocks) == 20
    assert plan.needed_blocks(0) == [1, 3, 5]


def test_more_columns_than_entries(monkeypatch):
    monkeypatch.setattr(scan, "MOST_ENTRIES", 4)
    parts = [parts_of(file, [1]) for file in range(3)]
    plan = Plan(parts, [Read(tuple("abcdef"), KEEP)], [{own[0] for own in parts}])
    assert [block.rows for block in plan.blocks] == [3]
