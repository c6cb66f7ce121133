"""The training loop: a student learns to answer as its teacher does, while blocks of its weights go."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from minibert_converter.distill.batches import Batch, plan_epoch
from minibert_converter.distill.dataset import Dataset
from minibert_converter.distill.losses import DistillationLoss, Shared
from minibert_converter.distill.masks import BlockMasks
from minibert_converter.distill.snapshot import Snapshot
from minibert_converter.distill.student import TorchNetwork
from minibert_converter.distill.teacher import Teacher
from minibert_converter.network import Network
from minibert_converter.passes.distillation import Distill
from minibert_converter.progress import OnProgress, no_progress

#: Steps by which the time of a pass over the texts is told.
_PACE_STEPS = 16


@dataclass(frozen=True)
class Moment:
    """How far a training is.

    Attributes:
        step: steps done.
        steps: steps in all.
        loss: mean loss of the last steps.
        density: part of the encoder's blocks that is left.
        seconds_left: time that the rest will take, as far as one can tell.
    """

    step: int
    steps: int
    loss: float
    density: float
    seconds_left: float


class Training:
    """One distillation, from its first step or from where it was stopped.

    Args:
        teacher: the model that is imitated.
        student: what it starts as; not changed.
        layers: for each of the student's layers, the teacher's layer it is to be like.
        dataset: texts.
        settings: the pass of the recipe.
        seed: of the order of texts.
        snapshot: where the state is kept while it runs; None keeps none.
        device: "cpu", "cuda", ...
        cache: a folder where the teacher's outputs are kept; None runs it again in each epoch.
        progress: called with the stage "running the teacher".
    """

    def __init__(
        self,
        teacher: Network,
        student: Network,
        layers: tuple[int, ...],
        dataset: Dataset,
        settings: Distill,
        *,
        seed: int = 0,
        snapshot: Snapshot | None = None,
        device: str = "cpu",
        cache: Path | None = None,
        progress: OnProgress = no_progress,
    ) -> None:
        self._network, self._dataset, self._settings = student, dataset, settings
        self._seed, self._snapshot = seed, snapshot
        self._device = torch.device(device)
        model = TorchNetwork(teacher).to(self._device).requires_grad_(False)
        self._student = TorchNetwork(student).to(self._device)
        dtype = torch.bfloat16 if settings.bfloat16 else torch.float32
        model.dtype = self._student.dtype = dtype
        self._loss = DistillationLoss(settings.loss, teacher.task, teacher.architecture, student.architecture, layers)
        self._loss.to(self._device)
        self._teacher = Teacher(
            model, dataset, self._loss.traced[1], self._loss.compared, self._device, cache, progress
        )
        if not settings.train_embeddings:
            for name in student.tables:
                self._student.parameter(name).requires_grad_(False)
        self._trained = [one for one in self._student.parameters() if one.requires_grad]
        self._trained += list(self._loss.parameters())
        self._optimizer = torch.optim.AdamW(
            [
                {"params": [one for one in self._trained if one.ndim > 1], "weight_decay": settings.weight_decay},
                {"params": [one for one in self._trained if one.ndim < 2], "weight_decay": 0.0},
            ],
            lr=settings.learning_rate,
            betas=(0.9, 0.98),
            fused=True,
        )
        self._usable = dataset.usable
        self._per_epoch = -(-len(self._usable) // settings.batch_size)
        self.steps = max(round(settings.distill * self._per_epoch), 1)
        self._masks = None
        if settings.blocks is not None:
            self._masks = BlockMasks(self._student, student, settings.blocks, self.steps)
        self.step = 0
        if snapshot is not None and (state := snapshot.read()) is not None:
            self._restore(state)

    @property
    def density(self) -> float:
        """Part of the encoder's blocks that is left."""
        return 1.0 if self._masks is None else self._masks.density

    @property
    def texts(self) -> int:
        """Texts that are learned from, copies included."""
        return len(self._usable)

    def pace(self) -> float:
        """Seconds that one pass over the texts takes here, as far as a few steps can tell.

        They train the student, so that the training that follows is another one.
        """
        plan = self._plan(self._seed)
        tokens = [sum(len(self._dataset.ids[i]) for i in rows) for rows in plan]
        int8 = 1 - self._settings.int8_from
        each = 0.0  # seconds of a token
        for arithmetic, share in ((False, 1 - int8), (True, int8)):
            if share:
                spent, seen = 0.0, 0
                for number in range(_PACE_STEPS):
                    began = time.perf_counter()
                    self._learn(plan[number % len(plan)], arithmetic)
                    # The first steps make what later ones have: buffers, Adam's moments.
                    if number >= _PACE_STEPS // 4:
                        spent += time.perf_counter() - began
                        seen += tokens[number % len(plan)]
                each += share * spent / seen
        return each * sum(tokens)

    def network(self) -> Network:
        """The student as it is now."""
        return self._student.write_to(self._network)

    def run(self, tell: Callable[[Moment], None], epoch_ended: Callable[[int], None] | None = None) -> None:
        """Trains to the end.

        Args:
            tell: called every few steps.
            epoch_ended: called with the number of epochs done after each but the last.
        """
        began, first, recent = time.monotonic(), self.step, 0.0
        while self.step < self.steps:
            epoch, done = divmod(self.step, self._per_epoch)
            seed = self._seed * 100_003 + epoch
            for rows in self._plan(seed)[done:]:
                loss = self._one_step(rows)
                recent = loss if self.step == first + 1 else 0.95 * recent + 0.05 * loss
                seconds = (time.monotonic() - began) / (self.step - first) * (self.steps - self.step)
                tell(Moment(self.step, self.steps, recent, self.density, seconds))
                if self._snapshot is not None and self._snapshot.due():
                    self._snapshot.write(self._state())
                if self.step == self.steps:
                    break
            if epoch_ended is not None and self.step < self.steps:
                epoch_ended(epoch + 1)

    def _plan(self, seed: int) -> list[np.ndarray]:
        """One pass over the texts that are learned from, in batches: numbers of texts."""
        lengths = [len(self._dataset.ids[i]) for i in self._usable]
        return [self._usable[rows] for rows in plan_epoch(lengths, self._settings.batch_size, seed)]

    def _one_step(self, rows: np.ndarray) -> float:
        settings = self._settings
        if self._masks is not None:
            self._masks.update(self.step, self._optimizer)
        warm = max(1.0, settings.warmup * self.steps)
        rate = min((self.step + 1) / warm, (self.steps - self.step) / max(self.steps - warm, 1.0), 1.0)
        for group in self._optimizer.param_groups:
            group["lr"] = settings.learning_rate * rate
        loss = self._learn(rows, self.step >= settings.int8_from * self.steps)
        self.step += 1
        if self.step == self.steps and self._masks is not None:
            self._masks.update(self.step, self._optimizer)
        return loss

    def _learn(self, rows: np.ndarray, int8: bool) -> float:
        """One step of AdamW on some texts; the loss before it."""
        self._student.int8 = int8
        batch, labels = self._batch(rows)
        trace = self._student(batch, self._loss.traced[0])
        loss = self._loss(trace, self._teacher(rows), labels, batch, self._shared(rows))
        loss.backward()
        if self._masks is not None:
            self._masks.observe(self.step)
        torch.nn.utils.clip_grad_norm_(self._trained, 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return loss.item()

    def _batch(self, rows: np.ndarray) -> tuple[Batch, Tensor | None]:
        dataset = self._dataset
        types = [dataset.types[i] for i in rows]
        batch = Batch.of([dataset.ids[i] for i in rows], types, self._device)
        labels = None
        if dataset.labels is not None and self._settings.loss.labels:
            truth = [dataset.labels[i] for i in rows]
            stacked = np.concatenate(truth) if truth[0].dtype.kind == "i" else np.stack(truth)
            labels = torch.from_numpy(stacked).to(self._device)
        return batch, labels

    def _shared(self, rows: np.ndarray) -> Shared | None:
        """The texts among these that student and teacher cut into the same tokens; None if all are."""
        dataset = self._dataset
        aligned = dataset.aligned[rows]
        if aligned.all():
            return None
        own, others = (
            torch.from_numpy(np.flatnonzero(np.repeat(aligned, [len(ids[i]) for i in rows]))).to(self._device)
            for ids in (dataset.ids, dataset.teacher_ids)
        )
        kept = rows[aligned]
        if not len(kept):
            return Shared(own, others, None)
        ids, types = ([each[i] for i in kept] for each in (dataset.ids, dataset.types))
        return Shared(own, others, Batch.of(ids, types, self._device))

    def _state(self) -> dict[str, object]:
        return {
            "step": self.step,
            "distill": self._settings.distill,
            "student": self._student.state_dict(),
            "loss": self._loss.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "masks": {} if self._masks is None else self._masks.state(),
        }

    def _restore(self, state: dict[str, object]) -> None:
        self.step = int(state["step"])  # type: ignore[arg-type]
        self._student.load_state_dict(state["student"])  # type: ignore[arg-type]
        self._loss.load_state_dict(state["loss"])  # type: ignore[arg-type]
        self._optimizer.load_state_dict(state["optimizer"])  # type: ignore[arg-type]
        if self._masks is not None:
            self._masks.restore(state["masks"])  # type: ignore[arg-type]
