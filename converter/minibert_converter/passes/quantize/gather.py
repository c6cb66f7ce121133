"""Running texts through the float32 network to see what enters each matrix."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from minibert_converter.calibration.stream import Stream
from minibert_converter.calibration.tokens import Tokens
from minibert_converter.network import LinearWeights, Network, TiedLinear
from minibert_converter.passes.quantize.statistics import InputStatistics

#: Statistics by the name of the place where they were taken.
Seen = Mapping[str, InputStatistics]


def seen_inputs(network: Network, tokens: Tokens, places: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, Seen]]:
    """Statistics of what enters matrices, each as soon as all texts have passed all of its places.

    So those of few matrices are in memory at a time: second moments of all take more than the weights do.

    Args:
        network: the model; it may change while texts pass, they see it as it was.
        tokens: the texts; all of their tokens count.
        places: by the name of a matrix, the names under which it stands in the network.

    Yields:
        The name of each matrix and what entered it at each of its places; those that texts don't pass come last, and
        have seen nothing.

    Raises:
        InputError: the texts drive the network to values that are not finite.
    """
    stream = Stream(replace(network, linears=dict(network.linears), norms=dict(network.norms)), tokens)
    owners = {place: owner for owner, names in places.items() for place in names}
    route = [network.aliases.get(name, name) for name in stream.matrices]
    left = Counter(owners[place] for place in route if place in owners)
    waiting: dict[str, dict[str, InputStatistics]] = {owner: {} for owner in places}
    for place in route:
        stream.advance()
        if place not in owners:
            continue
        owner = owners[place]
        seed = zlib.crc32(place.encode())
        statistics = waiting[owner].setdefault(place, InputStatistics(seed=seed))
        for rows in stream.inputs():
            statistics.add(rows)
        left[owner] -= 1
        if not left[owner]:
            yield owner, waiting.pop(owner)
    stream.advance()
    yield from waiting.items()


def gather_statistics(network: Network, tokens: Tokens) -> dict[str, InputStatistics]:
    """Statistics of the inputs of every float32 matrix, over all tokens of the texts; see `seen_inputs`."""
    names = [
        name
        for name, linear in network.linears.items()
        # What the first half of a low-rank part reads is what its matrix reads.
        if isinstance(linear, LinearWeights | TiedLinear) and not name.endswith(".low_rank.down")
    ]
    seen = seen_inputs(network, tokens, {name: [name] for name in names})
    return {place: statistics for _, one in seen for place, statistics in one.items()}
