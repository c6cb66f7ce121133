"""Block sparsity that grows while a student trains: which 4x4 blocks are gone at each step, and by what score.

The part removed follows a cubic (To Prune, or Not to Prune, arXiv 1710.01878): much at first, while there is plenty to
choose from, little at the end. A block that is gone keeps its last weights underneath, so that it can come back until
masks are final.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from minibert_converter.distill.student import TorchNetwork
from minibert_converter.matrices import encoder_names, real_rows_and_columns
from minibert_converter.network import Network
from minibert_converter.passes.distillation import Blocks
from minibert_converter.passes.prune.blocks import cut, select, spread


class BlockMasks:
    """Chooses the blocks of a student's encoder that stay, and writes them into its masks.

    Args:
        student: whose `masks` are set.
        network: what it was made of.
        settings: how many, by what score, when.
        steps: steps of the whole training.

    Attributes:
        density: part of the real blocks that is left.
    """

    def __init__(self, student: TorchNetwork, network: Network, settings: Blocks, steps: int) -> None:
        self._student, self._settings = student, settings
        self._first, self._last = round(settings.start * steps), max(round(settings.end * steps), 1)
        self._names = encoder_names(network)
        self._real: dict[str, np.ndarray] = {}
        self._movement: dict[str, Tensor] = {}
        self.density = 1.0
        student.dense_gradients = settings.score == "movement"
        gone = 0
        for name in self._names:
            rows, columns = real_rows_and_columns(network.architecture, name)
            width = student.parameter(f"{name}.weight").shape[1]
            self._real[name] = np.asarray(cut(rows[:, None] & columns[None, :width], 4, 4).any(axis=(2, 3)))
            weight = cut(student.parameter(f"{name}.weight").detach().cpu().numpy(), 4, 4)
            gone += int((self._real[name] & ~weight.any(axis=(2, 3))).sum())
            if settings.score == "movement":
                self._movement[name] = torch.zeros(self._real[name].shape)
        total = sum(int(real.sum()) for real in self._real.values())
        #: What the student came with: blocks that are zero already are the first to go by any score.
        self._initial = min(gone / total, settings.sparsity)

    def share(self, step: int) -> float:
        """The part of the blocks that is gone at a step."""
        done = min(max((step - self._first) / max(self._last - self._first, 1), 0.0), 1.0)
        return self._settings.sparsity + (self._initial - self._settings.sparsity) * (1 - done) ** 3

    def observe(self, step: int) -> None:
        """Reads gradients after a backward pass, for scores that add them up."""
        if not self._movement:
            return
        if step > self._last:
            self._student.dense_gradients = False
            return
        for name, total in self._movement.items():
            weight = self._student.parameter(f"{name}.weight")
            if weight.grad is not None:
                total -= _block_sums(weight.detach() * weight.grad).cpu()
                if name in self._student.masks:
                    weight.grad *= self._student.masks[name]

    def update(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        """Sets masks anew, every so many steps until they are final.

        Args:
            step: steps done.
            optimizer: Adam, whose second moments the score "fisher" reads.
        """
        if step > self._last or (step % self._settings.every and step not in (self._first, self._last)):
            return
        share = self.share(step)
        if share <= 0:
            return
        scores = {name: self._scores(name, optimizer) for name in self._names}
        self._set(select(scores, self._real, share, self._settings.budget))

    def _scores(self, name: str, optimizer: torch.optim.Optimizer) -> np.ndarray:
        weight = self._student.parameter(f"{name}.weight")
        if self._settings.score == "movement":
            return self._movement[name].numpy()
        energy = weight.detach().square()
        state = optimizer.state.get(weight, {})
        if self._settings.score == "fisher" and "exp_avg_sq" in state:
            energy = energy * state["exp_avg_sq"]
        scores = _block_sums(energy).cpu().numpy()
        # Scores of different matrices compare only after each is brought to one mean.
        return scores / max(float(scores[self._real[name]].mean()), 1e-30)

    def _set(self, kept: Mapping[str, np.ndarray]) -> None:
        left = total = 0
        for name, blocks in kept.items():
            weight = self._student.parameter(f"{name}.weight")
            mask = spread(blocks, 4, 4, tuple(weight.shape)).astype(np.float32)
            self._student.masks[name] = torch.from_numpy(mask).to(weight.device)
            left, total = left + int((blocks & self._real[name]).sum()), total + int(self._real[name].sum())
        self.density = left / total

    def state(self) -> dict[str, Tensor]:
        """What a resumed training needs, by name."""
        masks = {f"mask.{name}": mask[::4, ::4].bool().cpu() for name, mask in self._student.masks.items()}
        return masks | {f"movement.{name}": total.clone() for name, total in self._movement.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Takes up what `state` returned."""
        masks = {key.removeprefix("mask."): mask.numpy() for key, mask in state.items() if key.startswith("mask.")}
        if masks:
            self._set(masks)
        for name in self._movement:
            self._movement[name] = state[f"movement.{name}"].clone()


def _block_sums(values: Tensor) -> Tensor:
    """Sums over blocks of 4x4, float32 [ceil(out / 4), ceil(in / 4)]."""
    missing = (-values.shape[1] % 4, -values.shape[0] % 4)
    values = torch.nn.functional.pad(values, (0, missing[0], 0, missing[1]))
    return values.unflatten(0, (-1, 4)).unflatten(2, (-1, 4)).sum(dim=(1, 3))
