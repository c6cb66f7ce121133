"""From one checkpoint folder to all that a comparison needs: minibert's file, and each peer's environment and model.

    python -m bench.speed.prepare CHECKPOINT --name minilm                      # minibert and onnxruntime
    python -m bench.speed.prepare CHECKPOINT --name minilm --runtime openvino ctranslate2 litert torch llamacpp

Runs on a workstation: conversions need PyTorch, transformers and the runtime's own tools in this interpreter (`NEEDS`
below; bench/README.md has the commands). What lacks something is skipped with a line that says what. Every peer gets
int8 weights and activations by the recipe that its own documentation gives, and an environment of its own to run in.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import common
from bench.speed.peers import BUILD, RUNTIMES

#: What a peer's own environment gets from the package index, beside NumPy and tokenizers.
INSTALLS = {
    "onnxruntime": ["onnxruntime"],
    "litert": ["ai-edge-litert"],
    "openvino": ["openvino"],
    "ctranslate2": ["ctranslate2"],
    "torch": ["torch", "transformers"],
    "llamacpp": ["llama-cpp-python"],
}
_EXPORT = ("torch", "transformers", "onnx", "onnxruntime")
#: Modules that making a peer's model needs in this interpreter.
NEEDS = {
    "onnxruntime": _EXPORT,
    "litert": ("torch", "transformers", "litert_torch", "ai_edge_quantizer"),
    "openvino": (*_EXPORT, "openvino", "nncf", "tokenizers"),
    "ctranslate2": ("torch", "transformers", "ctranslate2"),
    "torch": (),
    "llamacpp": ("torch", "transformers", "gguf"),
}
#: LiteRT's models are made for one length each; the longest take minutes to make.
LITERT_LENGTHS = (8, 16, 32, 64, 128, 256, 512)
_CALIBRATION = common.ROOT / "converter" / "minibert_converter" / "calibration.txt"
_CALIBRATION_TEXTS = 128


def load_network(checkpoint: Path) -> Any:
    """The checkpoint as a PyTorch module of three inputs and one output: logits, or the states of the tokens."""
    import torch
    import transformers

    config = transformers.AutoConfig.from_pretrained(checkpoint)
    classifies = (config.architectures or [""])[0].endswith("ForSequenceClassification")
    kind = transformers.AutoModelForSequenceClassification if classifies else transformers.AutoModel
    # Exporters follow the plain attention; the runtimes' own optimizers recognize and fuse it.
    model = kind.from_pretrained(checkpoint, attn_implementation="eager").eval()

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.classifies = model, classifies

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
            return self.model(input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)[0]

    return Network()


def export_onnx(checkpoint: Path, file: Path) -> None:
    """ONNX in float32, any number of texts and tokens."""
    import torch

    network = load_network(checkpoint)
    names = ["input_ids", "attention_mask", "token_type_ids"]
    example = torch.ones(2, 12, dtype=torch.int64)
    free = {0: "texts", 1: "tokens"}
    axes = {**dict.fromkeys(names, free), "output": {0: "texts"} if network.classifies else free}
    with torch.no_grad():
        torch.onnx.export(
            network, (example, example, example * 0), str(file), input_names=names, output_names=["output"],
            dynamic_axes=axes, opset_version=17, dynamo=False,
        )  # fmt: skip


def make_onnxruntime(checkpoint: Path, target: Path) -> None:
    """Fused by onnxruntime's transformers optimizer, then dynamically quantized, weights per channel."""
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.transformers.optimizer import optimize_model

    with tempfile.TemporaryDirectory(dir=target) as folder:
        plain, fused = Path(folder) / "plain.onnx", Path(folder) / "fused.onnx"
        export_onnx(checkpoint, plain)
        heads, hidden = _attention_shape(checkpoint)
        optimized = optimize_model(str(plain), model_type="bert", num_heads=heads, hidden_size=hidden, opt_level=0)
        optimized.save_model_to_file(str(fused))
        # Where the type of a tensor cannot be inferred (behind fused operators) it is float.
        extra = {"MatMulConstBOnly": True, "DefaultTensorType": 1}
        quantize_dynamic(
            fused, target / "model.onnx", per_channel=True, weight_type=QuantType.QInt8, extra_options=extra
        )


def make_openvino(checkpoint: Path, target: Path) -> None:
    """Weights and activations in int8 by NNCF's recipe for transformers, calibrated on the converter's texts."""
    import nncf
    import numpy as np
    import openvino
    from tokenizers import Tokenizer

    with tempfile.TemporaryDirectory(dir=target) as folder:
        plain = Path(folder) / "plain.onnx"
        export_onnx(checkpoint, plain)
        model = openvino.convert_model(plain)
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    tokenizer.no_padding()
    lines = _CALIBRATION.read_text(encoding="utf-8").splitlines()
    texts = [line for line in lines if line and not line.startswith("# ")][:_CALIBRATION_TEXTS]
    samples = []
    for text in texts:
        ids = np.array([tokenizer.encode(text).ids], np.int64)
        samples.append({"input_ids": ids, "attention_mask": ids * 0 + 1, "token_type_ids": ids * 0})
    kind = nncf.ModelType.TRANSFORMER
    quantized = nncf.quantize(model, nncf.Dataset(samples), model_type=kind, subset_size=len(samples))
    openvino.save_model(quantized, target / "model.xml", compress_to_fp16=False)


def make_ctranslate2(checkpoint: Path, target: Path) -> None:
    """Weights in int8 per channel; activations are quantized as it runs."""
    from ctranslate2.converters import TransformersConverter

    TransformersConverter(str(checkpoint)).convert(str(target), quantization="int8", force=True)


def make_litert(checkpoint: Path, target: Path) -> None:
    """Weights in int8 per channel, activations quantized as it runs; a model for each length."""
    import litert_torch
    import torch
    from ai_edge_quantizer import quantizer, recipe

    network = load_network(checkpoint)

    class Masked(torch.nn.Module):
        """One input, its mask made inside: converters are known to mix up two inputs of the same shape."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, input_ids: Any) -> Any:
            return self.network.model(input_ids=input_ids, attention_mask=(input_ids != 0).long())[0]

    for length in LITERT_LENGTHS:
        with tempfile.TemporaryDirectory(dir=target) as folder:
            plain = str(Path(folder) / "plain.tflite")
            example = torch.ones(1, length, dtype=torch.int64)
            litert_torch.convert(Masked().eval(), (example,)).export(plain)
            one = quantizer.Quantizer(plain)
            one.load_quantization_recipe(recipe.dynamic_wi8_afp32())
            one.quantize().export_model(str(target / f"model_1x{length}.tflite"), overwrite=True)


def make_torch(checkpoint: Path, target: Path) -> None:
    """The checkpoint itself: PyTorch quantizes when it loads."""
    shutil.copytree(checkpoint, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.onnx", "onnx", "openvino"))


def make_llamacpp(checkpoint: Path, target: Path) -> None:
    """Weights in int8, 32 of a row to a scale (Q8_0), activations likewise as it runs; by llama.cpp's own script."""
    script = Path(os.environ.get("LLAMA_CPP", ".")) / "convert_hf_to_gguf.py"
    if not script.exists():
        sys.exit(f"no {script}: LLAMA_CPP must name a folder of llama.cpp's sources")
    command = [sys.executable, str(script), str(checkpoint), "--outtype", "q8_0"]
    subprocess.run([*command, "--outfile", str(target / "model.gguf")], check=True)


MAKERS: dict[str, Callable[[Path, Path], None]] = {
    "onnxruntime": make_onnxruntime,
    "litert": make_litert,
    "openvino": make_openvino,
    "ctranslate2": make_ctranslate2,
    "torch": make_torch,
    "llamacpp": make_llamacpp,
}


def make_environment(runtime: str) -> None:
    """The peer's own virtual environment, unless it is there."""
    folder = BUILD / "envs" / runtime
    done = folder / "installed"
    if done.exists():
        return
    common.note(f"{runtime}: environment {folder}")
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    install = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, "numpy", "tokenizers", *INSTALLS[runtime]], check=True)
    done.touch()


def prepare(runtime: str, checkpoint: Path, target: Path) -> None:
    """The peer's model and environment; a folder appears only when its model is whole."""
    lacking = [module for module in NEEDS[runtime] if importlib.util.find_spec(module) is None]
    if lacking:
        common.note(f"skipped {runtime}: no module {', '.join(lacking)} in {sys.executable}")
        return
    if target.exists():
        common.note(f"{runtime}: {target} is there already")
    else:
        common.note(f"{runtime}: model {target}")
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f"{runtime}-", dir=target.parent))
        try:
            MAKERS[runtime](checkpoint, unfinished)
            unfinished.chmod(0o755)
            unfinished.rename(target)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    make_environment(runtime)


def _attention_shape(checkpoint: Path) -> tuple[int, int]:
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    return config["num_attention_heads"], config["hidden_size"]


def main() -> None:
    parser = common.command_line(__doc__)
    parser.add_argument("checkpoint", type=Path, help="a Hugging Face folder with tokenizer.json")
    parser.add_argument("--name", help="of the models' folder (default: the checkpoint's)")
    parser.add_argument("--runtime", nargs="+", choices=RUNTIMES, default=["onnxruntime"], metavar="RUNTIME")
    options = parser.parse_args()
    if not (options.checkpoint / "config.json").exists():
        sys.exit(f"{options.checkpoint}: no config.json in it, not a checkpoint folder")
    models = BUILD / "models" / (options.name or options.checkpoint.resolve().name)
    models.mkdir(parents=True, exist_ok=True)
    ours = models / "minibert.safetensors"
    if not ours.exists():
        from minibert_converter.convert import convert

        common.note(f"minibert: {ours}")
        convert(options.checkpoint, ours)
    for runtime in options.runtime:
        prepare(runtime, options.checkpoint, models / runtime)


if __name__ == "__main__":
    main()
