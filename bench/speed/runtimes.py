"""The runtimes under comparison, each behind the same three words: load, answer, and where it cannot follow, say so.

A runtime's library is imported when it is loaded, so that this module costs nothing in a process that times its start.
Token states become one vector a text by the mean over its tokens; a runtime that does not pool by itself pays for that
in its time, as its users do.
"""

# ruff: noqa: D102 -- overriding methods say what the base class says

from __future__ import annotations

import os
import re
from typing import Any


class Runtime:
    """One loaded model.

    Args:
        model: a file or folder, as `prepare.py` makes it.
        threads: threads for one call.

    Attributes:
        version: of the library.
        ragged: takes texts of different lengths in one call without padding.
        one_at_a_time: takes a single text a call only.
    """

    version = ""
    ragged = False
    one_at_a_time = False

    def __init__(self, model: str, threads: int) -> None:
        raise NotImplementedError

    def answer(self, ids: list[list[int]]) -> Any:
        """The answer rows of a batch of token ids: float32 [texts, out]."""
        raise NotImplementedError

    def can(self, length: int) -> bool:
        """Whether the runtime has a model for texts of this many tokens."""
        return True


class Minibert(Runtime):
    """minibert: the batch as it is."""

    ragged = True

    def __init__(self, model: str, threads: int) -> None:
        import minibert

        self.model = minibert.load(model, threads=threads)
        self.version = minibert.__version__

    def answer(self, ids: list[list[int]]) -> Any:
        return self.model.forward(ids)


class OnnxRuntime(Runtime):
    """onnxruntime: model.onnx, all graph optimizations."""

    def __init__(self, model: str, threads: int) -> None:
        import numpy as np
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        file = os.path.join(model, "model.onnx") if os.path.isdir(model) else model
        self.session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self.inputs = {i.name: np.dtype("int32" if "int32" in i.type else "int64") for i in self.session.get_inputs()}
        self.version = onnxruntime.__version__

    def answer(self, ids: list[list[int]]) -> Any:
        padded, mask = _padded(ids)
        filled = {"input_ids": padded, "attention_mask": mask, "token_type_ids": padded * 0}
        feed = {name: filled[name].astype(dtype, copy=False) for name, dtype in self.inputs.items()}
        return _pooled(self.session.run(None, feed)[0], mask)


class OpenVino(Runtime):
    """OpenVINO: model.xml, compiled for latency."""

    def __init__(self, model: str, threads: int) -> None:
        import openvino

        file = os.path.join(model, "model.xml") if os.path.isdir(model) else model
        options = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
        compiled = openvino.Core().compile_model(file, "CPU", options)
        self.request = compiled.create_infer_request()
        self.inputs = [i.get_any_name() for i in compiled.inputs]
        self.version = openvino.__version__.split("-")[0]

    def answer(self, ids: list[list[int]]) -> Any:
        padded, mask = _padded(ids)
        filled = {"input_ids": padded, "attention_mask": mask, "token_type_ids": padded * 0}
        feed = {name: filled[name] for name in self.inputs}
        return _pooled(self.request.infer(feed, share_inputs=True, share_outputs=True)[0], mask)


class CTranslate2(Runtime):
    """CTranslate2: a converted folder; it takes ragged lists, and pads inside."""

    def __init__(self, model: str, threads: int) -> None:
        import ctranslate2

        self.encoder = ctranslate2.Encoder(
            model, device="cpu", compute_type="default", intra_threads=threads, inter_threads=1
        )
        self.version = ctranslate2.__version__

    def answer(self, ids: list[list[int]]) -> Any:
        import numpy as np

        states = np.array(self.encoder.forward_batch(ids).last_hidden_state)
        return _pooled(states, _padded(ids)[1])


class LiteRt(Runtime):
    """LiteRT (XNNPACK): a folder of NAME_1xLENGTH.tflite, each for one length; a text goes to the next longer one."""

    one_at_a_time = True

    def __init__(self, model: str, threads: int) -> None:
        from importlib.metadata import version

        found = {re.fullmatch(r".*_1x(\d+)\.tflite", name): name for name in os.listdir(model)}
        self.files = {int(match[1]): os.path.join(model, name) for match, name in found.items() if match}
        if not self.files:
            raise FileNotFoundError(f"{model}: no file NAME_1xLENGTH.tflite in it")
        self.threads = threads
        self.loaded: dict[int, tuple] = {}
        self.version = version("ai-edge-litert")

    def can(self, length: int) -> bool:
        return length <= max(self.files)

    def _interpreter(self, length: int) -> tuple:
        if length not in self.loaded:
            from ai_edge_litert.interpreter import Interpreter

            interpreter = Interpreter(model_path=self.files[length], num_threads=self.threads)
            interpreter.allocate_tensors()
            # Ids, then the mask where the model does not make it itself.
            inputs = sorted(interpreter.get_input_details(), key=lambda detail: detail["name"])
            self.loaded[length] = interpreter, inputs, interpreter.get_output_details()[0]["index"]
        return self.loaded[length]

    def answer(self, ids: list[list[int]]) -> Any:
        (text,) = ids
        length = min(length for length in self.files if length >= len(text))
        interpreter, inputs, output = self._interpreter(length)
        arrays = _padded(ids, length)
        for detail, array in zip(inputs, arrays):  # noqa: B905 (a peer's Python may be 3.8, and one input is enough)
            interpreter.set_tensor(detail["index"], array.astype(detail["dtype"], copy=False))
        interpreter.invoke()
        return _pooled(interpreter.get_tensor(output), arrays[1])


class LlamaCpp(Runtime):
    """llama.cpp by its Python binding: model.gguf of a sentence embedder; texts lie side by side, unpadded."""

    ragged = True
    #: Tokens of a call at most.
    TOKENS = 4096

    def __init__(self, model: str, threads: int) -> None:
        import ctypes

        import llama_cpp

        self.library = llama_cpp
        self.silent = llama_cpp.llama_log_callback(lambda *_line: None)  # kept: the library has its address
        llama_cpp.llama_log_set(self.silent, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        file = os.path.join(model, "model.gguf") if os.path.isdir(model) else model
        self.model = llama_cpp.llama_model_load_from_file(file.encode(), llama_cpp.llama_model_default_params())
        options = llama_cpp.llama_context_default_params()
        options.n_ctx = options.n_batch = options.n_ubatch = self.TOKENS
        options.n_seq_max = 64
        options.n_threads = options.n_threads_batch = threads
        options.embeddings, options.pooling_type = True, llama_cpp.LLAMA_POOLING_TYPE_MEAN
        self.context = llama_cpp.llama_init_from_model(self.model, options)
        if not self.context:
            raise RuntimeError(f"{file}: llama.cpp makes no context of it")
        self.width = llama_cpp.llama_model_n_embd(self.model)
        self.batch = llama_cpp.llama_batch_init(self.TOKENS, 0, 1)
        self.version = llama_cpp.__version__

    def answer(self, ids: list[list[int]]) -> Any:
        import numpy as np

        batch, place = self.batch, 0
        for sequence, text in enumerate(ids):
            for position, token in enumerate(text):
                batch.token[place], batch.pos[place], batch.logits[place] = token, position, 1
                batch.n_seq_id[place], batch.seq_id[place][0] = 1, sequence
                place += 1
        batch.n_tokens = place
        if self.library.llama_encode(self.context, batch):
            raise RuntimeError(f"llama.cpp refuses {len(ids)} texts of {place} tokens")
        rows = (self.library.llama_get_embeddings_seq(self.context, sequence) for sequence in range(len(ids)))
        return np.stack([np.ctypeslib.as_array(row, (self.width,)).copy() for row in rows])


class Torch(Runtime):
    """PyTorch: a checkpoint folder, its linears quantized to int8 when it is loaded."""

    def __init__(self, model: str, threads: int) -> None:
        import torch
        import transformers

        torch.set_num_threads(threads)
        kind = transformers.AutoConfig.from_pretrained(model).architectures[0]
        automatic = transformers.AutoModel
        if kind.endswith("ForSequenceClassification"):
            automatic = transformers.AutoModelForSequenceClassification
        loaded = automatic.from_pretrained(model).eval()
        self.model = torch.ao.quantization.quantize_dynamic(loaded, {torch.nn.Linear}, dtype=torch.qint8)
        self.version = str(torch.__version__)

    def answer(self, ids: list[list[int]]) -> Any:
        import torch

        padded, mask = _padded(ids)
        with torch.inference_mode():
            states = self.model(input_ids=torch.from_numpy(padded), attention_mask=torch.from_numpy(mask))[0]
        return _pooled(states.numpy(), mask)


RUNTIMES = {
    "minibert": Minibert,
    "onnxruntime": OnnxRuntime,
    "litert": LiteRt,
    "openvino": OpenVino,
    "ctranslate2": CTranslate2,
    "torch": Torch,
    "llamacpp": LlamaCpp,
}


def _padded(ids: list[list[int]], length: int = 0) -> tuple[Any, Any]:
    """Ids padded with zeros to a rectangle, and its mask: int64 [texts, length]."""
    import numpy as np

    length = length or max(map(len, ids))
    padded = np.zeros((len(ids), length), np.int64)
    mask = np.zeros((len(ids), length), np.int64)
    for row, text in enumerate(ids):
        padded[row, : len(text)] = text
        mask[row, : len(text)] = 1
    return padded, mask


def _pooled(states: Any, mask: Any) -> Any:
    """The mean of each text's token states; what has no token axis is the answer already."""
    import numpy as np

    if states.ndim == 2:
        return states
    share = mask.astype(np.float32) / mask.sum(axis=1, keepdims=True, dtype=np.float32)
    return np.matmul(share[:, None, :], states)[:, 0]
