"""Sizes as users write them."""

import pytest
from zerrow._sizes import parse_bytes


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (1, 1),
        ("1000000", 1_000_000),
        ("7b", 7),
        ("1k", 1000),
        ("2GB", 2_000_000_000),
        ("2gb", 2_000_000_000),
        ("1.5GB", 1_500_000_000),
        ("0.25 KiB", 256),
        ("512MiB", 512 << 20),
        ("512mi", 512 << 20),
        (" 3 TiB ", 3 << 40),
        ("1PB", 10**15),
    ],
)
def test_a_size_is_a_number_with_or_without_unit(size, expected):
    assert parse_bytes(size) == expected


@pytest.mark.parametrize(
    "size",
    [
        0,
        -1,
        1.5,
        True,
        None,
        [1],
        "",
        "GB",
        "1.5",
        "1.GB",
        ".5GB",
        "0.0001kB",
        "-1",
        "1iB",
        "1XB",
        "1GBB",
        "0",
        "9EB",
        2**60,
        "9" * 999,
    ],
)
def test_what_is_no_size_is_refused_with_an_example(size):
    with pytest.raises(ValueError, match=r'a size such as "2GB", "512MiB" or 1000000, not'):
        parse_bytes(size)
