"""SetFit (Tunstall et al. 2022, arXiv 2209.11055): a sentence encoder, and a linear classifier on its vectors."""

from __future__ import annotations

from dataclasses import dataclass

from minibert.errors import CheckpointError
from minibert.format.constants import padded
from minibert_converter.checkpoints.estimator import LinearClassifier, read_linear_classifier
from minibert_converter.checkpoints.folder import Folder, JsonObject
from minibert_converter.checkpoints.sentence_transformers import SentenceModules
from minibert_converter.matrices import widened
from minibert_converter.network import LinearWeights, Network, Origin

HEAD_FILE, CONFIG_FILE = "model_head.pkl", "config_setfit.json"
NAME = "head.output"


@dataclass(frozen=True)
class SetFit:
    """The classifier of a SetFit folder, what its classes are called, and whether it is one of vectors of length 1."""

    classifier: LinearClassifier
    labels: tuple[str, ...]
    folder: Folder
    normalized: bool

    def read_head(self, network: Network, width: int) -> None:
        """Puts the classifier behind the vectors, `width` wide.

        Raises:
            CheckpointError: it was trained on vectors of another width.
        """
        weight, bias = self.classifier.weight, self.classifier.bias
        if weight.shape[1] != width:
            raise CheckpointError(
                f"{self.folder / HEAD_FILE}: the classifier is of {weight.shape[1]} features, but vectors have {width}"
            )
        network.linears[NAME] = LinearWeights(widened(weight, padded(width)), bias)
        network.origins[NAME] = Origin(weight.size + bias.size, 8 * (weight.size + bias.size))


def read_setfit(folder: Folder, modules: SentenceModules | None) -> SetFit | None:
    """The classifier of a folder, or None where it is none of SetFit.

    Raises:
        CheckpointError: a file is broken, or the labels are not as many as the classes.
        UnsupportedError: the classifier, or something about it, is not supported.
    """
    if modules is None or modules.task != "sentence-embedding" or not folder.has(HEAD_FILE):
        return None
    config = JsonObject(folder.json_if_present(CONFIG_FILE))
    normalized = bool(config.get("normalize_embeddings")) or modules.normalize
    labels = config.get("labels")
    config.refuse_unknown(folder / CONFIG_FILE, "library_name|.*version")
    classifier = read_linear_classifier(folder.file(HEAD_FILE))
    classes = classifier.classes
    if all(isinstance(name, str) for name in classes):
        names = [str(name) for name in classes]
    elif labels is None:
        names = [f"LABEL_{int(number)}" for number in classes]
    elif not isinstance(labels, list) or not all(0 <= int(number) < len(labels) for number in classes):
        raise CheckpointError(f"{folder / CONFIG_FILE}: labels does not name each of the classes {classes!r:.80}")
    else:
        names = [str(labels[int(number)]) for number in classes]
    return SetFit(classifier, tuple(names), folder, normalized)
