"""Folders of tokenizers, whole, contradicted and with files missing; what transformers makes of them is in golden/.

A case says which vocabulary it has, and what stands beside it:

    base      one of BASES
    stored    whether there is a tokenizer.json, made of the vocabulary by the base's own class
    edits     of that tokenizer.json: dotted names and new values
    without   files that are taken away
    config, special, added    tokenizer_config.json, special_tokens_map.json, added_tokens.json, where given
"""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

from minibert_converter.checkpoints.folder import Folder
from minibert_converter.checkpoints.tokenizer import read_tokenizer
from tests.checkpoints import vocabulary, write_json

HERE = Path(__file__).parent / "golden/tokenizer_classes"
#: A vocabulary, the class that it was made for, and the model_type of its checkpoints.
BASES = {
    "words": ("BertTokenizer", "bert"),
    "mpnet": ("MPNetTokenizer", "mpnet"),
    "bytes": ("RobertaTokenizer", "roberta"),
    "xlm-roberta": ("XLMRobertaTokenizer", "xlm-roberta"),
    "camembert": ("CamembertTokenizer", "camembert"),
    "albert": ("AlbertTokenizer", "albert"),
    "deberta-v2": ("DebertaV2Tokenizer", "deberta-v2"),
    "t5": ("T5Tokenizer", "t5"),
}
FILES = {"xlm-roberta": "sentencepiece.bpe.model", "camembert": "sentencepiece.bpe.model", "deberta-v2": "spm.model"}
#: Rows of the embedding table: enough for whatever is added.
ROWS = 2000
TEXTS = (
    *(
        "A Great movie",
        "naïve Café ÜBER?!",
        "你好 good",
        "plays\tnot\u200bbad\x00",
        "",
        " two  spaces  ",
        "line\nbreak",
    ),
    *(
        "[MASK] [SEP]",
        "x [unused1] y",
        "<extra> hello",
        "[NEW]good",
        "``quoted'' 1,000",
        "ﬁne ｆｕｌｌ",  # noqa: RUF001
        "the<mask>a <mask>",
    ),
)
PAIRS = (("A Great movie", "good"), ("x [MASK]", "not bad"))


def make(case: dict[str, Any], folder: Path) -> Path:
    """Write the folder of a case."""
    folder.mkdir(parents=True)
    base = case["base"]
    write_json(folder / "config.json", {"model_type": BASES[base][1]})
    if base == "words":
        (folder / "vocab.txt").write_text("\n".join(vocabulary()) + "\n", encoding="utf-8")
    elif base == "mpnet":
        words = [token for token in vocabulary(198) if token not in ("[PAD]", "[CLS]", "[SEP]", "[MASK]")]
        text = "\n".join(["<s>", "<pad>", "</s>", "<unk>", *words, "<mask>"])
        (folder / "vocab.txt").write_text(text + "\n", encoding="utf-8")
    elif base == "bytes":
        for name in ("vocab.json", "merges.txt"):
            shutil.copy(HERE.parent / "tokenizers/roberta" / name, folder)
    else:
        shutil.copy(HERE / f"{base}.model", folder / FILES.get(base, "spiece.model"))
    if case.get("stored"):
        stored = json.loads(read_tokenizer(Folder(folder), ROWS, usual=BASES[base][0]).json)
        for name, value in case.get("edits", {}).items():
            *way, last = name.split(".")
            place = stored
            for key in way:
                place = place[int(key) if key.isdigit() else key]
            place[last] = value
        write_json(folder / "tokenizer.json", stored)
        case = {**case, "without": [*case.get("without", ()), FILES.get(base, "spiece.model")]}
    names = {"config": "tokenizer_config.json", "special": "special_tokens_map.json", "added": "added_tokens.json"}
    for key, name in names.items():
        if key in case:
            write_json(folder / name, case[key])
    for name in case.get("without", ()):
        (folder / name).unlink(missing_ok=True)
    return folder


def usual_class(case: dict[str, Any]) -> str:
    """The class of the family's tokenizers."""
    return BASES[case["base"]][0]


def random_case(source: random.Random) -> dict[str, Any]:
    """A case in which files say this and that, and against one another."""
    base = source.choice(list(BASES))
    case: dict[str, Any] = {"base": base, "stored": source.random() < 0.6, "config": {}, "edits": {}}
    if source.random() < 0.8:
        case["config"]["tokenizer_class"] = usual_class(case) + source.choice(["", "Fast"])
    for _ in range(source.choice([0, 1, 1, 2, 3])):
        _contradict(case, source)
    return case


def _contradict(case: dict[str, Any], source: random.Random) -> None:  # noqa: C901
    config, special = case["config"], case.setdefault("special", {})
    truth = source.choice([True, False])
    mask = source.choice(["[MASK]", "<mask>"])
    flags = {"lstrip": truth, "rstrip": False, "normalized": False, "single_word": False}
    match source.randrange(14):
        case 0:
            config["do_lower_case"] = truth
        case 1:
            config["strip_accents"] = source.choice([True, False, None])
        case 2:
            config["tokenize_chinese_chars"] = truth
        case 3:
            config["add_prefix_space"] = truth
        case 4:
            config["keep_accents"] = truth
        case 5:
            classes = [
                "PreTrainedTokenizerFast",
                "DistilBertTokenizer",
                "ElectraTokenizer",
                *(c for c, _ in BASES.values()),
            ]
            config["tokenizer_class"] = source.choice(classes)
        case 6:
            config.pop("tokenizer_class", None)
        case 7:
            key = source.choice(["additional_special_tokens", "extra_special_tokens"])
            (config if truth else special)[key] = [source.choice(["[unused1]", "<extra>", "hello", "[NEW]"])]
        case 8:
            config["model_input_names"] = ["input_ids", "attention_mask", *["token_type_ids"] * truth]
        case 9:
            special["mask_token"] = source.choice([mask, {"content": mask, **flags}])
        case 10:
            config["mask_token"] = {"content": mask, "__type": "AddedToken", "special": True, **flags}
        case 11:
            case["added"] = {
                source.choice(["<extra>", "[NEW]", "good"]): source.choice([source.randrange(300), 399, 402])
            }
        case 12 if case["stored"]:
            case["edits"][source.choice(["post_processor", "normalizer"])] = None
        case 13 if case["stored"]:
            case["edits"][f"added_tokens.0.{source.choice(['lstrip', 'rstrip', 'normalized', 'special'])}"] = truth


def cases() -> list[dict[str, Any]]:
    """Every class on its vocabulary, and every setting of each; then known pitfalls, and some of chance."""
    mask = {"content": "<mask>", "lstrip": True, "rstrip": False, "normalized": False, "single_word": False}
    listed: list[dict[str, Any]] = []
    settings = {
        **dict.fromkeys(("words", "mpnet"), ("do_lower_case", "strip_accents", "tokenize_chinese_chars")),
        **dict.fromkeys(("bytes", "xlm-roberta", "camembert", "albert", "deberta-v2"), ("add_prefix_space",)),
        "t5": (),
    }
    more = {"albert": ("do_lower_case", "keep_accents"), "deberta-v2": ("do_lower_case", "split_by_punct"), "bytes": ()}
    for base, (name, _) in BASES.items():
        for stored in (False, True):
            listed.append({"base": base, "stored": stored})
            listed.append({"base": base, "stored": stored, "config": {"tokenizer_class": name + "Fast"}})
            for key in (*settings[base], *more.get(base, ())):
                for value in (True, False):
                    listed.append({"base": base, "stored": stored, "config": {key: value}})
            for where in ("config", "special"):
                extra = {"additional_special_tokens": ["[NEW]"]}
                listed.append({"base": base, "stored": stored, "config": {}, where: extra})
        listed.append({"base": base, "stored": True, "edits": {"post_processor": None}})
        listed.append({"base": base, "stored": True, "config": {"tokenizer_class": "PreTrainedTokenizerFast"}})
    words = {"base": "words", "stored": True}
    for name in (
        "DistilBertTokenizer",
        "ElectraTokenizer",
        "ConvBertTokenizer",
        "MobileBertTokenizer",
        "LxmertTokenizer",
    ):
        listed.append({**words, "config": {"tokenizer_class": name}})
    for name in (
        "DPRContextEncoderTokenizer",
        "DPRQuestionEncoderTokenizer",
        "LayoutLMTokenizer",
        "SqueezeBertTokenizer",
    ):
        listed.append({**words, "config": {"tokenizer_class": name}})
    for name in ("BartTokenizer", "LEDTokenizer", "LongformerTokenizer"):
        listed.append({"base": "bytes", "stored": True, "config": {"tokenizer_class": name}})
    listed += [
        {**words, "edits": {"normalizer.lowercase": False}},
        {**words, "edits": {"normalizer.lowercase": False}, "config": {"tokenizer_class": "PreTrainedTokenizerFast"}},
        {**words, "special": {"additional_special_tokens": ["[unused1]"]}},
        {"base": "words", "config": {"extra_special_tokens": ["[unused1]"]}},
        {"base": "words", "added": {"<extra>": 203}},
        {"base": "words", "config": {"added_tokens_decoder": {"203": {"content": "<extra>", "normalized": True}}}},
        {"base": "bytes", "stored": True, "special": {"mask_token": mask}},
        {"base": "bytes", "stored": True, "config": {"mask_token": {**mask, "__type": "AddedToken"}}},
    ]
    source = random.Random(7)
    return [*listed, *(random_case(source) for _ in range(60))]
