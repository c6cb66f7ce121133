"""Answers of many small models, as JSON: what an emulated core has to agree with."""

from __future__ import annotations

import json
import sys

from tests.engine.zoo import SHAPES, lengths_of, zoo


def answers(backend: str, kinds: tuple[str, ...] = ("int8", "float32")) -> dict[str, list[float]]:
    """Name of a model -> its answers, float32 exactly."""
    found = {}
    for kind in kinds:
        for name in SHAPES:
            model = zoo(name, kind)
            engine = model.engine(backend=backend)
            found[f"{kind}: {name}"] = engine.forward(*model.texts(lengths_of(model))).reshape(-1).tolist()
    return found


if __name__ == "__main__":
    print(json.dumps(answers(sys.argv[1])))  # noqa: T201
    assert not {"numba", "llvmlite"} & set(sys.modules)
