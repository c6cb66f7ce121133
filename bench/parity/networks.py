"""Every family and head against its model in transformers: from float32 and float16, in float32 and int8."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
import transformers

from minibert.engine import Engine
from minibert.format import read_model
from minibert_converter.convert import convert
from tests.checkpoints import WORDS
from tests.families import SETUPS, cases, golden, write_family
from tests.oracles import ORACLES

#: Ids of texts, and their token types.
Texts: TypeAlias = tuple[list[list[int]], list[list[int]]]
#: The largest difference of any output, in units of outputs that are about 1.
TOLERANCE = 1e-4


@dataclass
class Row:
    """A family and a head.

    Attributes:
        name: both.
        float32: largest difference of any number, from a checkpoint in float32.
        float16: the same from one in float16.
        int8: root mean square of the differences, as a share of the standard deviation of the outputs.
        differ: 1 if one of the first two is above TOLERANCE.
    """

    name: str
    float32: float
    float16: float
    int8: float
    differ: int

    def __str__(self) -> str:
        return f"{self.name:44} float32 {self.float32:.1e}  float16 {self.float16:.1e}  int8 {100 * self.int8:5.1f} %"


def rows(folder: Path) -> Iterator[Row]:
    """All families and heads, on a single text, a pair, the longest text and an empty one.

    Those that transformers lacks are compared with what is written down of the code of their checkpoints.
    """
    entries = golden()
    for name, oracle in ORACLES.items():
        wanted, errors = oracle.vectors(*oracle.texts()), {}
        for source in ("float32", "float16"):
            home = folder / name / source
            oracle.write(home, {key: value.astype(source) for key, value in oracle.weights().items()})
            for dtype in ("float32", "int8") if source == "float32" else ("float32",):
                errors[source, dtype] = _ours(home, oracle.texts(), dtype) - wanted, wanted
        yield _row(f"{name}: sentence-embedding", errors)
    for family in SETUPS:
        for task in entries[family]["tasks"]:
            errors = {}
            for source in ("float32", "float16"):
                home = folder / family / task / source
                write_family(home, family, task, entries[family], np.dtype(source).type)
                wanted = _theirs(home, family, task, entries[family]["tasks"][task]["architecture"])
                for dtype in ("float32", "int8") if source == "float32" else ("float32",):
                    made = _ours(home, _texts(family), dtype)
                    errors[source, dtype] = made - wanted, wanted
            yield _row(f"{family}: {task}", errors)


def _row(name: str, errors: Mapping[tuple[str, str], tuple[np.ndarray, np.ndarray]]) -> Row:
    """By the dtypes of checkpoint and file, differences, and what the answers should be."""
    plain, half = (float(np.abs(errors[source, "float32"][0]).max()) for source in ("float32", "float16"))
    error, wanted = errors["float32", "int8"]
    noise = float(np.sqrt(np.square(error).mean()) / wanted.std())
    return Row(name, plain, half, noise, int(max(plain, half) > TOLERANCE * max(1, np.abs(wanted).max() / 4)))


def _texts(family: str) -> Texts:
    texts = cases(SETUPS[family]["config"])
    return [ids for ids, _ in texts], [types for _, types in texts]


def _theirs(folder: Path, family: str, task: str, architecture: str) -> np.ndarray:
    labels = {"num_labels": 2} if task == "question-answering" else {}
    model = getattr(transformers, architecture).from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", **labels
    )
    model.eval()
    found = []
    for ids, types in cases(SETUPS[family]["config"]):
        inputs = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
        if any(types):
            inputs["token_type_ids"] = torch.tensor([types])
        with torch.no_grad():
            result = model(**inputs)
        if task == "question-answering":
            found.append(torch.stack([result.start_logits[0], result.end_logits[0]], dim=1))
        elif task == "sentence-embedding":
            own = "last_hidden_state" not in result  # DPR makes the vector itself
            found.append(result.pooler_output if own else result.last_hidden_state[0].mean(0, keepdim=True))
        else:
            found.append(result.logits.reshape(-1, result.logits.shape[-1]))
    return torch.cat(found).numpy()


def _ours(folder: Path, texts: Texts, dtype: str) -> np.ndarray:
    calibration = [" ".join(np.random.RandomState(seed).permutation(WORDS.split())[:30]) for seed in range(8)]
    file = folder / f"{dtype}.safetensors"
    quantized = dtype == "int8"
    convert(folder, file, quantize="int8" if quantized else "none", calibrate=calibration if quantized else None)
    return Engine(read_model(file), threads=1).forward(*texts)
