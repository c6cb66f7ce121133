"""Every tokenizer class of transformers: the same ids, or a refusal by its name (golden/make_tokenizer_classes.py)."""

from __future__ import annotations

import json
import os
import random
from importlib.util import find_spec

import pytest
from tokenizers import Tokenizer

from minibert.errors import MinibertError, UnsupportedError
from minibert_converter.checkpoints.folder import Folder
from minibert_converter.checkpoints.tokenizer import read_tokenizer
from minibert_converter.checkpoints.tokenizer.classes import AS_STORED, CLASSES, MORE_THAN_A_FILE
from tests import tokenizer_folders
from tests.checkpoints import write_json

GOLDEN = json.loads((tokenizer_folders.HERE / "answers.json").read_text(encoding="utf-8"))
TEXTS = [*tokenizer_folders.TEXTS, *tokenizer_folders.PAIRS]


def ours(case, folder):
    """Ids and types of every text and pair, or the error."""
    try:
        usual = tokenizer_folders.usual_class(case)
        made = read_tokenizer(Folder(tokenizer_folders.make(case, folder)), tokenizer_folders.ROWS, usual=usual)
    except MinibertError as error:
        return error
    tokenizer = Tokenizer.from_str(made.json)
    encoded = [tokenizer.encode(*text) if isinstance(text, tuple) else tokenizer.encode(text) for text in TEXTS]
    return [[each.ids, each.type_ids] for each in encoded]


def unlike(found, wanted, case) -> list[object]:
    """Texts whose ids are others, but for the space before a mask where nothing but the class says whose it is."""
    masks = [case.get(where, {}).get("mask_token") for where in ("config", "special")]
    mask_is_said = any(isinstance(mask, dict) for mask in masks) or (case.get("stored") and not any(masks))
    return [
        (text, one, other)
        for text, one, other in zip(TEXTS, found, wanted, strict=True)
        if one != other and not ("mask" in str(text).lower() and not mask_is_said)
    ]


def test_ids_and_types_are_those_of_transformers(tmp_path):
    refused = []
    for number, golden in enumerate(GOLDEN):
        found = ours(golden["case"], tmp_path / str(number))
        if isinstance(found, MinibertError):
            refused.append(golden["case"])
        elif golden["answers"] is not None:
            assert unlike(found, golden["answers"], golden["case"]) == [], golden["case"]
    assert len(GOLDEN) > 180
    # What is refused is contradicted by chance, and none of the plain cases.
    assert all(case in [each["case"] for each in GOLDEN[-60:]] for case in refused)
    assert len(refused) < 25


def test_every_class_is_known_or_refused_by_its_name(tmp_path):
    names = json.loads((tokenizer_folders.HERE / "classes.json").read_text())
    assert len(names) > 80
    assert set(MORE_THAN_A_FILE).isdisjoint(CLASSES)
    for name in names:
        if name in CLASSES or name in AS_STORED:
            continue
        folder = tokenizer_folders.make({"base": "words", "stored": True}, tmp_path / name)
        write_json(folder / "tokenizer_config.json", {"tokenizer_class": name})
        with pytest.raises(
            UnsupportedError, match=rf"tokenizer class {name} is not supported.*PreTrainedTokenizerFast"
        ):
            read_tokenizer(Folder(folder), 300)


def test_code_of_a_checkpoint_is_refused(tmp_path):
    folder = tokenizer_folders.make({"base": "words", "stored": True}, tmp_path / "folder")
    write_json(folder / "tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["tokenization_x.X", None]}})
    with pytest.raises(UnsupportedError, match=r"tokenizer_config\.json: .*never run.*remove auto_map"):
        read_tokenizer(Folder(folder), 300)


def test_contradicted_folders_where_transformers_is_installed(tmp_path, fuzz_rounds):
    if find_spec("transformers") is None:
        pytest.skip("needs transformers")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from tests.golden.make_tokenizer_classes import answers

    read = 0
    for seed in range(fuzz_rounds // 10):
        case = tokenizer_folders.random_case(random.Random(seed))
        found = ours(case, tmp_path / str(seed))
        wanted = None if isinstance(found, MinibertError) else answers(tmp_path / str(seed))
        if wanted is not None:
            read += 1
            assert unlike(found, wanted, case) == [], (seed, case)
    assert read > fuzz_rounds // 20
