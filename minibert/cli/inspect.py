"""Show what a model file holds: the model, its parts and their sizes, how it was made."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from minibert.cli import console
from minibert.cli.matrices import list_matrices, matrices_table
from minibert.cli.recipes import as_toml, passes_table

if TYPE_CHECKING:
    from minibert.format import Architecture, ModelFile

HELP = "show what a model file holds"
EXAMPLES = ("inspect model.safetensors",)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("file", metavar="FILE", help="a model file, written by minibert convert")
    parser.add_argument("--tensors", action="store_true", help="list every matrix and every tensor")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print the file's config, sizes taken from its tensors, and how much of each matrix is zero."""
    from minibert.format import read_model

    file = read_model(arguments.file)
    parts, matrices = list_parts(file), list_matrices(file)
    if arguments.json:
        value = {"file": str(file.path), "bytes": file.size, **file.config.to_json(), "parts": parts}
        value["tokens"] = token_source(file)
        value["matrices"] = matrices
        if arguments.tensors:
            value["tensors"] = list_tensors(file)
        console.say_json(value, indent=2)
        return 0
    console.say(console.table(_facts(file)))
    console.say()
    console.say(_parts_table(file, parts))
    if matrices:
        console.say()
        console.say(matrices_table(matrices, each=arguments.tensors))
    if passes := passes_table(file.config.report):
        console.say(f"\n{passes}")
    report = {key: each for key, each in file.config.report.items() if key not in ("parts", "passes")}
    lines = {
        "recipe": as_toml(file.config.recipe),
        "report": _lines(report),
        "provenance": _lines(file.config.provenance),
    }
    for name, each in lines.items():
        if each:
            console.say(f"\n{console.bold(name)}")
            for line in each:
                console.say(f"  {console.one_line(line, 160)}")
    if arguments.tensors:
        console.say()
        rows = [
            (each["name"], each["alias_of"] or "", each["dtype"], str(each["shape"]), f"{each['bytes']:,}")
            for each in list_tensors(file)
        ]
        console.say(console.table(rows, ("tensor", "alias of", "dtype", "shape", "bytes")))
    return 0


def _parts_table(file: ModelFile, parts: list[dict[str, Any]]) -> str:
    report = file.config.report.get("parts")  # free form: anybody may have written anything
    reported = [each for each in report if isinstance(each, Mapping)] if isinstance(report, (list, tuple)) else []
    errors = {str(each.get("name")): each.get("error") for each in reported}
    rows = []
    for part in parts:
        error = errors.get(part["name"])
        shown = f"{error:.2%}" if isinstance(error, float) and error else ""
        rows.append((part["name"], part["kind"], f"{part['parameters']:,}", console.megabytes(part["bytes"]), shown))
    total = sum(part["parameters"] for part in parts), sum(part["bytes"] for part in parts)
    rows.append(("total", "", f"{total[0]:,}", console.megabytes(total[1]), ""))
    return console.table(rows, ("part", "kind", "parameters", "bytes", "error"))


def list_parts(file: ModelFile) -> list[dict[str, Any]]:
    """Parts of the model in the order of a forward pass: name, kind of weights, parameters, bytes in the file.

    Parameters are those that the architecture means: scales, sums and padding to panels count as bytes only. What is
    shared counts where it comes first.
    """
    from minibert.format.token_tables import PREFIX

    config = file.config
    parts: dict[str, dict[str, Any]] = {}
    for name, tensor in file.tensors.items():
        part = parts.setdefault(_part_of(name), {"name": _part_of(name), "kind": "", "parameters": 0, "bytes": 0})
        if name in config.aliases:
            part["kind"] = part["kind"] or "shared"
            continue
        part["bytes"] += tensor.nbytes
        base, _, last = name.rpartition(".")
        if base in config.linears:
            linear = config.linears[base]
            kinds = [kind for kind in (part["kind"], linear.kind) if kind not in ("", "shared")]
            part["kind"] = ", ".join(dict.fromkeys(", ".join(kinds).split(", ")))
            weights = linear.in_features * linear.out_features
            part["parameters"] += {
                "weight": weights,
                "blocks": weights,
                "codes": weights,
                "bias": linear.out_features,
            }.get(last, 0)
        elif base in config.tables:
            part["kind"] = config.tables[base].kind
            narrow = config.architecture.word_size if base == "embeddings.word" else 0
            entries = config.tables[base].rows * (narrow or config.architecture.table_size)
            part["parameters"] += entries if last in ("weight", "codes") else 0
        elif name == "tokenizer.json" or name.startswith(PREFIX):
            part["kind"] = "tables" if config.text.tables else ""
        else:
            part["parameters"] += tensor.size
    return list(parts.values())


def list_tensors(file: ModelFile) -> list[dict[str, Any]]:
    """Every tensor: name, dtype, shape, bytes, and which other tensor it shares."""
    aliases = file.config.aliases
    return [
        {
            "name": name,
            "dtype": str(tensor.dtype),
            "shape": list(tensor.shape),
            "bytes": 0 if name in aliases else tensor.nbytes,
            "alias_of": aliases.get(name),
        }
        for name, tensor in file.tensors.items()
    ]


def _part_of(name: str) -> str:
    words = name.split(".")
    if words[0] == "layers":
        return ".".join(words[:3])
    if words[0] == "embeddings":
        return ".".join(words[:2])
    return words[0] if words[0] in ("head", "tokens") else "tokenizer"


def _facts(file: ModelFile) -> list[tuple[str, str]]:
    a, task = file.config.architecture, file.config.task
    facts = [
        ("file", f"{file.path} ({console.megabytes(file.size)})"),
        ("task", task.kind + (f", {task.problem_type}" if task.labels else "")),
    ]
    if task.labels:
        facts.append(("labels", f"{len(task.labels)}: {console.one_line(', '.join(task.labels), 80)}"))
    if task.prompts:
        facts.append(("prompts", ", ".join(f"{name}={text!r}" for name, text in task.prompts.items())))
    for name, side in (("queries", task.query), ("documents", task.document)):
        if side is not None:
            filled = f", filled up to {side.fill_to}" if side.fill_to else ""
            skipped = f", {len(side.skip)} tokens skipped" if side.skip else ""
            facts.append((name, f"{side.max_length} tokens{filled}{skipped}; a vector for each"))
    heads = sorted({layer.num_heads for layer in a.layers})
    facts += [
        ("model", f"{a.model_type}, {len(a.layers)} layers, hidden size {a.hidden_size}{_some(heads)}"),
        ("vocabulary", f"{a.vocab_size:,} tokens"),
        ("reads", f"{file.config.text.max_length} tokens of a text, {a.max_positions} at most"),
        ("tokens", token_source(file)),
        ("pooling", _pooling(a)),
    ]
    width = max(len(name) for name, _ in facts)
    longest = max(len(value) for _, value in facts)
    return [(name.ljust(width), value.ljust(longest)) for name, value in facts]


def token_source(file: ModelFile) -> str:
    """What makes tokens of texts: the file's own tables, or the tokenizers library, and why."""
    if file.config.text.tables:
        return "tables of this file"
    reason = file.config.provenance.get("tokens")  # free form: anybody may have written anything
    return "the tokenizers library" + (f" ({console.one_line(reason, 100)})" if isinstance(reason, str) else "")


def _pooling(architecture: Architecture) -> str:
    parts = [architecture.pooling]
    if architecture.layer_weights:
        parts.append("of the weighted sum of all layers")
    if not architecture.pool_prompt:
        parts.append("without the prompt")
    return ", ".join([*parts, "normalized"] if architecture.normalize else parts)


def _some(heads: list[int]) -> str:
    if not heads:
        return ""
    return f", {heads[0]} heads" if len(heads) == 1 else f", {heads[0]} to {heads[-1]} heads"


def _lines(value: Any, name: str = "") -> list[str]:
    """Nested JSON values as `a.b: value` lines; what has many entries is counted."""
    if name and isinstance(value, dict) and len(value) > 8:
        return [f"{name}: {len(value)} entries (--json shows them)"]
    if isinstance(value, dict):
        return [line for key, each in value.items() for line in _lines(each, f"{name}.{key}" if name else str(key))]
    if isinstance(value, (list, tuple)) and any(isinstance(each, (dict, list, tuple)) for each in value):
        if len(value) > 8:
            return [f"{name}: {len(value)} entries (--json shows them)"]
        return [line for index, each in enumerate(value) for line in _lines(each, f"{name}.{index}")]
    if isinstance(value, (list, tuple)):
        value = ", ".join(map(str, value))
    return [f"{name}: {value}"]
