"""Headers and configs that are not the JSON that they should be."""

from __future__ import annotations

import json

import pytest


def test_headers_that_are_no_json(forge):
    text = forge.header_text()
    for spoiled in (
        text[:-1],
        text[:-1] + ",}",
        text + "}",
        text + " x",
        text.replace('"dtype"', "dtype", 1),
        text.replace('"', "'"),
        text.replace("{", "{/*", 1),
        "{}" + text,
        "{" * 50,
        "{",
        '{"a": [' + "[" * 5000,
    ):
        forge.refused("header", content=forge.bytes(spoiled))
    forge.refused("not a safetensors file", content=forge.bytes(" " + text))
    forge.refused("not a safetensors file", content=forge.bytes("[]"))
    forge.refused("not one that minibert wrote", content=forge.bytes("{}"))


def test_a_header_that_is_no_utf8(forge):
    content = bytearray(forge.bytes())
    content[content.index(b"embeddings")] = 0xFF
    forge.refused("header", "utf-8", content=bytes(content))
    utf16 = forge.header_text().encode("utf-16-le")
    utf16 += b" \0" * (-(8 + len(utf16)) % 64 // 2)
    forge.refused(content=len(utf16).to_bytes(8, "little") + utf16 + bytes(forge.data))


def test_the_same_key_twice(forge):
    """Which of two entries counts is a matter of taste, and taste differs between the prover and the user."""
    text = forge.header_text()
    again = f', "embeddings.norm.bias": {json.dumps(forge.header["embeddings.norm.bias"])}}}'
    forge.refused("'embeddings.norm.bias'", "twice", content=forge.bytes(text[:-1] + again))
    forge.refused("twice", content=forge.bytes(text.replace('"dtype"', '"dtype": "F32", "dtype"', 1)))
    forge.metadata["config"] = json.dumps(forge.config).replace('"hidden_size"', '"hidden_size": 9, "hidden_size"', 1)
    forge.config = None
    forge.refused("config", "'hidden_size'", "twice")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 100, "1" * 1_000_000])
def test_numbers_that_json_does_not_have(forge, number):
    forge.config["report"] = {"score": "NUMBER"}
    forge.metadata["config"] = json.dumps(forge.config).replace('"NUMBER"', number)
    forge.config = None
    forge.refused("config")


def test_deep_nesting(forge):
    for depth in (40, 2_000, 1_000_000):
        spoiled = forge.copy()
        spoiled.metadata["config"] = json.dumps({**forge.config, "report": {"deep": "DEEP"}}).replace(
            '"DEEP"', "[" * depth + "]" * depth
        )
        spoiled.config = None
        spoiled.refused("nests")
    forge.config["report"] = {"deep": json.loads('{"a":[' * 10 + "]}" * 10)}
    assert forge.read().config.report == forge.config["report"]


def test_half_a_surrogate_pair(forge):
    """Such a string cannot be printed, written or sent anywhere: found here, not in the user's terminal."""
    for escaped in ("\\ud800", "\\uDFFF", "\\uDC00\\uD800"):
        spoiled = forge.copy()
        spoiled.metadata["config"] = json.dumps(forge.config).replace("good", escaped)
        spoiled.config = None
        spoiled.refused("config", "surrogates")
    forge.metadata["config"] = json.dumps(forge.config).replace("good", "\\ud83e\\udd17")
    forge.config = None
    assert forge.read().config.task.labels[1] == "🤗"


@pytest.mark.parametrize("value", [None, [], "text", 1, {"a": 1}, {"format": "minibert", "version": 1}])
def test_metadata_that_is_not_a_map_of_strings(forge, value):
    text = json.dumps({"__metadata__": value, **forge.header})
    forge.refused("minibert" if value is None else "__metadata__", content=forge.bytes(text))


def test_a_config_is_needed(forge):
    forge.config = None
    del forge.metadata["config"]
    forge.refused("lacks 'config'")


@pytest.mark.parametrize("text", ["", "null", "[]", "1", '"config"', "{}", "{'a': 1}", "\ufeff{}"])
def test_a_config_that_is_no_object(forge, text):
    forge.config = None
    forge.metadata["config"] = text
    forge.refused("config")


def test_foreign_metadata_is_ignored(forge):
    forge.metadata["modelspec.title"] = "a title that some tool added"
    assert forge.read().config.architecture.hidden_size == 40


def test_the_worst_header_of_the_largest_size_is_refused(forge):
    for filler in ("{},", "1,"):
        text = '{"a":[' + filler * ((8 << 20) // len(filler) - 10) + "0]}"
        forge.refused("minibert", content=forge.bytes(text))
