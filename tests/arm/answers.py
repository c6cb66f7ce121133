"""Answers of many small models, as JSON: what an emulated core has to agree with."""

from __future__ import annotations

import json
import sys

from tests.engine.zoo import SHAPES, lengths_of, zoo

#: Each kind of matrix with the shapes that it is tried in: what four bits are to a shape, int8 is, too.
KINDS = {"int8": tuple(SHAPES), "float32": tuple(SHAPES)} | dict.fromkeys(
    ("int4", "int4-4x4", "codebook"), ("plain", "factors", "modern")
)


def answers(backend: str) -> dict[str, list[float]]:
    """Name of a model -> its answers, float32 exactly."""
    found = {}
    for kind, names in KINDS.items():
        for name in names:
            model = zoo(name, kind)
            engine = model.engine(backend=backend)
            found[f"{kind}: {name}"] = engine.forward(*model.texts(lengths_of(model))).reshape(-1).tolist()
    return found


if __name__ == "__main__":
    print(json.dumps(answers(sys.argv[1])))  # noqa: T201
    assert not {"numba", "llvmlite"} & set(sys.modules)
