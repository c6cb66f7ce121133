"""What the teacher returns for each text: run anew for each batch, or kept on disk for later epochs and other runs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from minibert.format.schema import Architecture
from minibert_converter.distill.batches import Batch
from minibert_converter.distill.dataset import Dataset
from minibert_converter.distill.student import TorchNetwork, Trace
from minibert_converter.progress import OnProgress, no_progress

#: Tokens that the teacher reads at once while its outputs are being kept.
_CHUNK_TOKENS = 2048


class Teacher:
    """The teacher's traces of batches.

    Args:
        model: runs the texts.
        dataset: the texts.
        traced: layers whose queries, keys and values are wanted.
        hidden: numbers of the hidden states that are wanted.
        device: where batches go.
        folder: where traces are kept, in float16; None runs the model each time. Trainings with the same teacher and
            texts share them, and each adds what it wants and is not there yet.
        progress: called with the stage "running the teacher", when they are not there yet.
    """

    def __init__(
        self,
        model: TorchNetwork,
        dataset: Dataset,
        traced: tuple[int, ...],
        hidden: tuple[int, ...],
        device: torch.device,
        folder: Path | None = None,
        progress: OnProgress = no_progress,
    ) -> None:
        self._model, self._dataset, self._traced, self._device = model, dataset, traced, device
        self._hidden = hidden
        self._kept: dict[str, np.ndarray] = {}
        self._starts = np.cumsum([0, *map(len, dataset.teacher_ids)])
        if folder is not None:
            self._kept = self._keep(folder, progress)

    def __call__(self, texts: np.ndarray) -> Trace:
        """The trace of some texts, given by their numbers."""
        if not self._kept:
            return self._run(texts)
        rows = self._rows_of(texts)
        per_token = len(self._kept["output"]) != len(self._dataset.teacher_ids)
        output = self._load("output", rows if per_token else texts)
        hidden = {number: self._load(f"hidden.{number}", rows) for number in self._hidden}
        heads = {number: self._load(f"heads.{number}", rows).unflatten(1, (3, -1)) for number in self._traced}
        return Trace(output, hidden, {number: each.transpose(0, 1) for number, each in heads.items()})

    @torch.no_grad()
    def _run(self, texts: Sequence[int] | np.ndarray) -> Trace:
        dataset = self._dataset
        ids = [dataset.teacher_ids[i] for i in texts]
        return self._model(Batch.of(ids, [dataset.teacher_types[i] for i in texts], self._device), self._traced)

    def _rows_of(self, texts: np.ndarray) -> np.ndarray:
        """Places of the tokens of some texts among those of all."""
        return np.concatenate([np.arange(int(self._starts[i]), int(self._starts[i + 1])) for i in texts])

    def _load(self, name: str, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(self._kept[name][rows].astype(np.float32)).to(self._device)

    def _keep(self, folder: Path, progress: OnProgress) -> dict[str, np.ndarray]:
        """Arrays by name, mapped; those that are not there yet are made now."""
        folder = folder / self._key()
        shapes = self._shapes(self._model.architecture)
        missing = {name: shape for name, shape in shapes.items() if not (folder / f"{name}.npy").exists()}
        if missing:
            folder.mkdir(parents=True, exist_ok=True)
            self._write(folder, missing, progress)
        return {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in shapes}

    def _shapes(self, architecture: Architecture) -> dict[str, tuple[int, int]]:
        tokens, texts = int(self._starts[-1]), len(self._dataset.teacher_ids)
        rows = tokens if architecture.pooling == "none" else texts
        output = architecture.hidden_size
        if architecture.head:
            output = len(self._model.parameter(f"{architecture.head[-1].name}.bias"))
        shapes = {"output": (rows, output)}
        for number in self._hidden:
            shapes[f"hidden.{number}"] = tokens, architecture.hidden_size
        for number in self._traced:
            shapes[f"heads.{number}"] = tokens, len(self._model.parameter(f"layers.{number}.attention.qkv.bias"))
        return shapes

    def _write(self, folder: Path, shapes: dict[str, tuple[int, int]], progress: OnProgress) -> None:
        # Under names of their own until they are whole: other trainings may be at the same.
        part = f".{os.getpid()}.part"
        files = {name: _mapped(folder / f"{name}{part}", shape) for name, shape in shapes.items()}
        lengths = np.diff(self._starts)
        order, first = np.argsort(lengths, kind="stable"), 0
        while first < len(order):
            progress("running the teacher", first, len(order))
            count = max(1, _CHUNK_TOKENS // int(lengths[order[first]]))
            texts = order[first : first + count]
            trace = self._run(texts)
            rows = self._rows_of(texts)
            outputs = {f"hidden.{number}": trace.hidden[number] for number in self._hidden}
            outputs |= {f"heads.{number}": each.transpose(0, 1).flatten(1) for number, each in trace.heads.items()}
            for name in outputs.keys() & files.keys():
                files[name][rows] = outputs[name].cpu().numpy()
            if "output" in files:
                per_token = self._model.architecture.pooling == "none"
                files["output"][rows if per_token else texts] = trace.output.cpu().numpy()
            first += count
        for name, file in files.items():
            file.flush()
            os.replace(folder / f"{name}{part}", folder / f"{name}.npy")
        progress("running the teacher", len(order), len(order))

    def _key(self) -> str:
        """A name that another teacher or other texts hardly have."""
        digest = hashlib.sha256(str(self._model.dtype).encode())
        for name, value in self._model.state_dict().items():
            digest.update(name.encode() + value.detach().cpu().numpy().tobytes())
        digest.update(repr((self._dataset.teacher_ids, self._dataset.teacher_types)).encode())
        return digest.hexdigest()[:24]


def _mapped(path: Path, shape: tuple[int, int]) -> np.memmap:
    """A new array on disk. All its bytes are taken now: a disk found full when a page is written kills the process."""
    array = np.lib.format.open_memmap(path, "w+", np.float16, shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, max(path.stat().st_size, 1))
    return array
