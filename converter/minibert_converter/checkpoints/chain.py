"""The weights of what sentence-transformers has behind an encoder, module by module: see sentence_transformers.py."""

from __future__ import annotations

import numpy as np

from minibert.errors import CheckpointError
from minibert_converter.checkpoints.encoder import add_residual, read_linear, read_norm
from minibert_converter.checkpoints.folder import Folder
from minibert_converter.checkpoints.names import NamedTensors
from minibert_converter.checkpoints.sentence_modules import ChainModule
from minibert_converter.checkpoints.sentence_transformers import SentenceModules
from minibert_converter.checkpoints.setfit import SetFit
from minibert_converter.checkpoints.weights import read_weights
from minibert_converter.network import Network


def read_behind(
    network: Network,
    width: int,
    modules: SentenceModules | None,
    setfit: SetFit | None,
    encoder: NamedTensors | None = None,
) -> None:
    """Reads what stands behind an encoder whose rows have `width` columns; `encoder` are its own tensors."""
    if modules:
        width = read_chain(network, modules, width, encoder)
    if setfit:
        setfit.read_head(network, width)


def read_chain(network: Network, modules: SentenceModules, width: int, encoder: NamedTensors | None) -> int:
    """Reads the linears and norms of a chain into `network`, whose encoder makes rows of `width` columns.

    Args:
        network: receives them.
        modules: the chain.
        width: columns of the encoder's rows.
        encoder: the encoder's own tensors, among which one may lie.

    Returns:
        How many columns the rows have at the end.

    Raises:
        CheckpointError: a module takes rows of another width, or its weights are missing or broken.
    """
    for place, module in enumerate((*modules.chain, None)):
        if place == modules.pool_after:
            width *= len(network.architecture.poolings) or 1
        if module is not None and module.source and encoder:
            outputs = encoder.rows(f"{module.source}.weight")
            read_linear(network, encoder, module.layer.name, f"{module.source}.weight", None, outputs, width)
            width = outputs
        elif module is not None and module.sizes is not None:
            width = _read_module(network, module, *module.sizes, width)
    return width


def _read_module(network: Network, module: ChainModule, inputs: int, outputs: int, width: int) -> int:
    name, tensors = module.layer.name, _tensors(module.folder)
    if inputs != width:
        key = "dimension" if module.layer.kind == "norm" else "in_features"
        raise CheckpointError(f"{module.folder / 'config.json'}: {key} is {inputs}, but {width} come in")
    if module.layer.kind == "norm":
        read_norm(network, tensors, name, "norm.weight", "norm.bias", width)
    else:
        read_linear(network, tensors, name, "linear.weight", "linear.bias" if module.bias else None, outputs, width)
    if module.residual:
        add_residual(network, tensors, name, width)
    tensors.refuse_strangers()
    return outputs


def read_layer_weights(modules: SentenceModules, layers: int) -> tuple[float, ...]:
    """What the embeddings' rows and those of each layer are multiplied by, or nothing where only the last layer counts.

    Raises:
        CheckpointError: there are not as many weights as layers, or they add up to nothing.
    """
    if modules.layer_weights is None:
        return ()
    folder, start = modules.layer_weights.folder, modules.layer_weights.start
    if start > layers:
        raise CheckpointError(f"{folder / 'config.json'}: layer_start is {start}, but there are {layers} layers")
    tensors = _tensors(folder)
    weights = tensors.read("layer_weights", (layers + 1 - start,)).astype(np.float64)
    tensors.refuse_strangers()
    if weights.sum() == 0:
        raise CheckpointError(f"{folder}: the layer_weights add up to 0")
    return (*[0.0] * start, *(weights / weights.sum()).tolist())


def _tensors(folder: Folder) -> NamedTensors:
    return NamedTensors(folder.path, read_weights(folder))
