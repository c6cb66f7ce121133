"""Cut a small BERT out of a large one: fewer layers, a narrower residual stream, fewer heads and neurons, fewer words.

The student starts as a projection of its teacher instead of as noise. One orthonormal basis ``P`` (teacher's width by
student's) serves the whole residual stream: matrices that read the stream become ``W P``, matrices that write it
``Pᵀ W``. The heads and neurons that move the stream most are kept whole. LayerNorm does not commute with a projection,
so its scale and shift are fitted anew, coordinate by coordinate. What comes out is a start, not yet a good model.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import BertConfig, BertForSequenceClassification


def _record(teacher: BertForSequenceClassification, texts: Sequence[Sequence[int]]) -> dict[str, Tensor]:
    """Run ``texts`` (token ids) through the teacher.

    Returns float32 [tokens, features] by module name: every LayerNorm's input as NAME.in and output as NAME.out, and
    as NAME.in the inputs of every linear that writes the residual stream and of the classifier.
    """
    seen: dict[str, list[Tensor]] = defaultdict(list)

    def hook(name: str, keep_output: bool):
        def forward_hook(_module: torch.nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            seen[name + ".in"].append(inputs[0].flatten(0, -2))
            if keep_output:
                seen[name + ".out"].append(output.flatten(0, -2))

        return forward_hook

    handles = [
        module.register_forward_hook(hook(name, name.endswith("LayerNorm")))
        for name, module in teacher.named_modules()
        if name.endswith(("LayerNorm", "output.dense")) or name == "classifier"
    ]
    with torch.inference_mode():
        for ids in texts:
            teacher(torch.tensor([ids]))
    for handle in handles:
        handle.remove()
    return {name: torch.cat(parts) for name, parts in seen.items()}


def _stream_basis(records: dict[str, Tensor], width: int, generator: torch.Generator) -> Tensor:
    """The ``width`` directions that hold most of the stream's energy, as float32 [teacher width, width].

    They are turned by a random rotation: LayerNorm divides by the spread over coordinates, which says little where one
    coordinate holds most of the energy.
    """
    moment = sum(x.T @ x / x.square().sum() for name, x in records.items() if name.endswith("LayerNorm.out"))
    _, vectors = torch.linalg.eigh(moment)
    rotation, _ = torch.linalg.qr(torch.randn(width, width, generator=generator))
    return vectors[:, -width:] @ rotation


def _strongest(inputs: Tensor, weight: Tensor, keep: int, group: int = 1) -> Tensor:
    """Indices of the ``keep`` groups of input features that contribute most to ``inputs @ weight.T``, in order."""
    energy = (inputs.square().mean(0) * weight.square().sum(0)).reshape(-1, group).sum(1)
    groups = energy.topk(keep).indices.sort().values
    return (groups[:, None] * group + torch.arange(group)).flatten()


def shrink(
    teacher: BertForSequenceClassification,
    config: BertConfig,
    layers: Sequence[int],
    kept_ids: Sequence[int],
    classes: Sequence[int],
    texts: Sequence[Sequence[int]],
    generator: torch.Generator,
) -> BertForSequenceClassification:
    """A student of the shape in ``config``, initialised from ``teacher``.

    Args:
        teacher: the large classifier; its heads must be as wide as the student's.
        config: the student's shape.
        layers: for each of the student's layers, the teacher's layer it starts from.
        kept_ids: for each of the student's token ids, the teacher's id of the same token.
        classes: for each of the student's classes, the teacher's number of the same class.
        texts: a few hundred texts as the teacher's token ids, on which directions, heads and neurons are judged.
        generator: source of the random rotation.

    Raises:
        ValueError: the two models' head sizes differ.
    """
    head_size = config.hidden_size // config.num_attention_heads
    if head_size != teacher.config.hidden_size // teacher.config.num_attention_heads:
        raise ValueError(
            f"heads of {head_size} cannot be cut from the teacher's heads: choose --hidden and --heads to fit"
        )
    student = BertForSequenceClassification(config)
    old, new = teacher.state_dict(), student.state_dict()
    records = _record(teacher, texts)
    basis = _stream_basis(records, config.hidden_size, generator)

    def norm(target: str, source: str) -> None:
        x, y = records[source + ".in"] @ basis, records[source + ".out"] @ basis
        x = torch.nn.functional.layer_norm(x, x.shape[-1:])
        slope = ((x - x.mean(0)) * (y - y.mean(0))).mean(0) / x.var(0, correction=0)
        new[target + ".weight"].copy_(slope)
        new[target + ".bias"].copy_(y.mean(0) - slope * x.mean(0))

    def reads(target: str, source: str, rows: Tensor) -> None:
        new[target + ".weight"].copy_(old[source + ".weight"][rows] @ basis)
        new[target + ".bias"].copy_(old[source + ".bias"][rows])

    def writes(target: str, source: str, columns: Tensor) -> None:
        new[target + ".weight"].copy_(basis.T @ old[source + ".weight"][:, columns])
        new[target + ".bias"].copy_(basis.T @ old[source + ".bias"])

    with torch.no_grad():
        embeddings = "bert.embeddings."
        new[embeddings + "word_embeddings.weight"].copy_(old[embeddings + "word_embeddings.weight"][kept_ids] @ basis)
        positions = config.max_position_embeddings
        new[embeddings + "position_embeddings.weight"].copy_(
            old[embeddings + "position_embeddings.weight"][:positions] @ basis
        )
        new[embeddings + "token_type_embeddings.weight"].copy_(old[embeddings + "token_type_embeddings.weight"] @ basis)
        norm(embeddings + "LayerNorm", embeddings + "LayerNorm")
        for number, origin in enumerate(layers):
            to, of = f"bert.encoder.layer.{number}.", f"bert.encoder.layer.{origin}."
            mixed = of + "attention.output.dense"
            heads = _strongest(
                records[mixed + ".in"], old[mixed + ".weight"], config.num_attention_heads, group=head_size
            )
            for part in ("query", "key", "value"):
                reads(f"{to}attention.self.{part}", f"{of}attention.self.{part}", heads)
            writes(to + "attention.output.dense", mixed, heads)
            norm(to + "attention.output.LayerNorm", of + "attention.output.LayerNorm")
            down = of + "output.dense"
            neurons = _strongest(records[down + ".in"], old[down + ".weight"], config.intermediate_size)
            reads(to + "intermediate.dense", of + "intermediate.dense", neurons)
            writes(to + "output.dense", down, neurons)
            norm(to + "output.LayerNorm", of + "output.LayerNorm")
        pooled = _strongest(records["classifier.in"], old["classifier.weight"], config.hidden_size)
        reads("bert.pooler.dense", "bert.pooler.dense", pooled)
        new["classifier.weight"].copy_(old["classifier.weight"][:, pooled][classes])
        new["classifier.bias"].copy_(old["classifier.bias"][classes])
    return student
