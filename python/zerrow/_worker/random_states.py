"""The states of `random` and `numpy.random`: each worker draws its own numbers, unless seeded."""

import random
import sys
from typing import Any

# An import that draws more numbers than these blocks hold counts as one that seeds.
_MOST_BLOCKS = 2000
_BLOCK_BITS = 624 * 32
# A generator without a seed takes 128 bits of the system's; nobody writes such a seed by hand.
_SEED_BITS = 64


def states() -> dict[str, Any]:
    """The states of the global generators, by library."""
    found: dict[str, Any] = {"random": random.getstate()}
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None:
        found["numpy"] = numpy.random.get_state(legacy=False)
    return found


def seeded(before: dict[str, Any]) -> dict[str, Any]:
    """Those of the states now that aren't what drawing numbers makes of those `before`."""
    return {
        library: state
        for library, state in states().items()
        if library not in before or not _is_drawn(_words(before[library]), _words(state))
    }


def renew(kept: dict[str, Any]) -> None:
    """New states for this process, but for those that are `kept`."""
    random.seed()
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()
    if "random" in kept:
        random.setstate(kept["random"])
    if "numpy" in kept:
        numpy.random.set_state(kept["numpy"])


def renew_names() -> None:
    """Has `tempfile` make its names' generator anew when it needs one.

    It would know a forked process by its pid, but in PID namespaces many have the same.
    """
    tempfile: Any = sys.modules.get("tempfile")
    if tempfile is not None:
        tempfile._name_sequence = None


def is_generator(kind: type) -> bool:
    """Whether objects of the class hold the state of a generator of random numbers."""
    numpy: Any = sys.modules.get("numpy")
    return (issubclass(kind, random.Random) and not issubclass(kind, random.SystemRandom)) or (
        numpy is not None and issubclass(kind, numpy.random.BitGenerator)
    )


def is_unseeded(generator: Any) -> bool:  # noqa: ANN401
    """Whether it is beside the global ones and wasn't given a seed, as far as known.

    Processes that are forked would draw the same numbers from it.
    """
    if isinstance(generator, random.Random):
        return generator is not getattr(random, "_inst", None)
    numpy: Any = sys.modules["numpy"]
    if generator is numpy.random.mtrand._rand._bit_generator:
        return False
    entropy = getattr(getattr(generator, "seed_seq", None), "entropy", None)
    return entropy is None or (isinstance(entropy, int) and entropy >> _SEED_BITS != 0)


def _words(state: Any) -> tuple[int, ...] | None:  # noqa: ANN401
    """A Mersenne twister's words and its position in them; None for another generator's state."""
    if isinstance(state, tuple):
        return state[1] if len(state[1]) == 625 else None
    if state.get("bit_generator") != "MT19937":
        return None
    inner = state["state"]
    return (*inner["key"].tolist(), inner["pos"])


def _is_drawn(before: tuple[int, ...] | None, after: tuple[int, ...] | None) -> bool:
    if before is None or after is None:
        return before == after
    generator = random.Random()
    generator.setstate((3, before, None))
    for _ in range(_MOST_BLOCKS):
        if generator.getstate()[1][:-1] == after[:-1]:
            return True
        generator.getrandbits(_BLOCK_BITS)
    return False
