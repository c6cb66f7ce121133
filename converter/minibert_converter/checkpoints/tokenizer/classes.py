"""What each tokenizer class of transformers makes of a vocabulary and its settings.

A class that has a constructor of its own looks at nothing of tokenizer.json but the vocabulary: normalizer, splitting
and special tokens are made anew, from tokenizer_config.json and the class's defaults. So it is here. Only the classes
that are a tokenizer.json and nothing else take it as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from minibert.errors import CheckpointError
from minibert_converter.checkpoints.tokenizer.settings import Settings
from minibert_converter.checkpoints.tokenizer.vocabularies import Kind, Vocabulary

#: Special tokens by role.
Roles = Mapping[str, AddedToken | str]
BERT_ROLES: Roles = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
#: A mask that takes the space before it with it. transformers 5 knows that of some classes only where the folder says
#: it; 4 knew it of all that were trained so, and that is what is right.
MASK = AddedToken("<mask>", lstrip=True, special=True)
ROBERTA_ROLES: Roles = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "sep_token": "</s>",
    "cls_token": "<s>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "mask_token": MASK,
}


@dataclass(frozen=True)
class TokenizerClass:
    """A class of transformers.

    Attributes:
        kind: its model.
        roles: its special tokens, where the folder names no others.
        build: makes the tokenizer, without special tokens.
        ends: what it puts around a text and a pair; see `Ends`.
        types: whether it tells the model which text of a pair a token is of, where model_input_names does not say.
        stored_ends: whether it takes what tokenizer.json puts around a text, if that says anything.
        extra: further special tokens, where the folder names no others.
        model_file: the name of its SentencePiece model, where it has one.
        pieces: makes the vocabulary of the pieces of that model, where that is not the same.
    """

    kind: Kind
    roles: Roles
    build: Callable[[Vocabulary, Settings, Roles], Tokenizer]
    ends: Ends
    types: bool = False
    stored_ends: bool = False
    extra: tuple[str, ...] = ()
    model_file: str = ""
    pieces: Callable[[list[tuple[str, float]], Settings], list[tuple[str, float]]] | None = None


@dataclass(frozen=True)
class Ends:
    """Special tokens around a text and a pair, by role: "cls $A sep", with the type of each behind a colon.

    Attributes:
        single: those around one text.
        pair: those around two.
        roberta: whether spaces are also kept out of a token's characters.
    """

    single: str
    pair: str
    roberta: bool = False

    def processor(self, tokenizer: Tokenizer, settings: Settings, roles: Roles) -> Any:
        """The library's object for it.

        Raises:
            CheckpointError: a token that it needs is none.
        """
        used = sorted({part.split(":")[0] for part in f"{self.single} {self.pair}".split()} - {"$A", "$B"})
        tokens = {role: settings.token(f"{role}_token", roles[f"{role}_token"]) for role in used}
        numbers = {}
        for role in used:
            token, number = tokens[role], tokenizer.token_to_id(tokens[role])
            if number is None:
                raise CheckpointError(f"{settings.folder}: the vocabulary lacks the special token {token!r}")
            if any(char in token for char in " :$"):
                raise CheckpointError(f"{settings.folder}: {role}_token is {token!r}, which cannot stand around a text")
            numbers[role] = (token, number)
        if self.roberta:
            trims, prefix = bool(settings.flag("trim_offsets", True)), bool(settings.flag("add_prefix_space", False))
            return processors.RobertaProcessing(numbers["sep"], numbers["cls"], trims, prefix)
        ways = []
        for way in (self.single, self.pair):
            parts = [part.partition(":") for part in way.split()]
            ways.append(" ".join(f"{tokens.get(role, role)}:{number or 0}" for role, _, number in parts))
        return processors.TemplateProcessing(ways[0], ways[1], list(dict.fromkeys(numbers.values())))


def _word_piece(vocabulary: Vocabulary, settings: Settings, roles: Roles) -> Tokenizer:
    """BERT's: words, split greedily."""
    tokenizer = Tokenizer(models.WordPiece(vocabulary.ids, unk_token=settings.token("unk_token", roles["unk_token"])))
    tokenizer.normalizer = normalizers.BertNormalizer(  # type: ignore[assignment]
        clean_text=True,
        handle_chinese_chars=bool(settings.flag("tokenize_chinese_chars", True)),
        strip_accents=settings.flag("strip_accents", None),
        lowercase=bool(settings.flag("do_lower_case", True)),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()  # type: ignore[assignment]
    tokenizer.decoder = decoders.WordPiece(prefix="##")  # type: ignore[assignment]
    return tokenizer


def _byte_level(vocabulary: Vocabulary, settings: Settings, roles: Roles) -> Tokenizer:
    """GPT-2's: bytes, merged."""
    try:
        model = models.BPE(
            vocabulary.ids,
            list(vocabulary.merges),
            continuing_subword_prefix="",
            end_of_word_suffix="",
            fuse_unk=False,
        )
    except Exception as error:  # the library raises plain Exception
        raise CheckpointError(f"{vocabulary.source}: vocabulary and merges do not go together ({error})") from error
    tokenizer = Tokenizer(model)
    prefix = bool(settings.flag("add_prefix_space", False))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)  # type: ignore[assignment]
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    return tokenizer


def _unigram(vocabulary: Vocabulary, unknown: int, steps: list[Any], split: Any, scheme: str) -> Tokenizer:
    """SentencePiece's: the likeliest pieces."""
    if not 0 <= unknown < len(vocabulary.scores):
        raise CheckpointError(
            f"{vocabulary.source}: the piece for what is unknown should be {unknown}, but there is none"
        )
    tokenizer = Tokenizer(models.Unigram(vocabulary.scores, unk_id=unknown, byte_fallback=False))
    if steps:
        tokenizer.normalizer = steps[0] if len(steps) == 1 else normalizers.Sequence(steps)  # type: ignore[assignment]
    spaces = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme=scheme)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, spaces]) if split else spaces  # type: ignore[assignment]
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme=scheme)  # type: ignore[assignment]
    return tokenizer


def _scheme(settings: Settings, without: str = "never") -> str:
    """Whether a space is put before a text."""
    return "always" if settings.flag("add_prefix_space", True) else without


def _characters(vocabulary: Vocabulary) -> list[Any]:
    return [normalizers.Precompiled(vocabulary.characters)] if vocabulary.characters else []


def _unknown(vocabulary: Vocabulary, settings: Settings, roles: Roles, default: int) -> int:
    """The first piece that is the token for what is unknown, with a score of zero."""
    piece = (settings.token("unk_token", roles["unk_token"]), 0.0)
    return vocabulary.scores.index(piece) if piece in vocabulary.scores else default


def _xlm_roberta(vocabulary: Vocabulary, settings: Settings, roles: Roles) -> Tokenizer:
    split = pre_tokenizers.WhitespaceSplit()
    return _unigram(vocabulary, 3, _characters(vocabulary), split, _scheme(settings))


def _camembert(vocabulary: Vocabulary, settings: Settings, roles: Roles) -> Tokenizer:
    name = settings.token("unk_token", roles["unk_token"])
    unknown = next((index for index, (piece, _) in enumerate(vocabulary.scores) if piece == name), 0)
    split = pre_tokenizers.WhitespaceSplit()
    return _unigram(vocabulary, unknown, _characters(vocabulary), split, _scheme(settings))


def _t5(vocabulary: Vocabulary, settings: Settings, roles: Roles) -> Tokenizer:
    return _unigram(vocabulary, 2, _characters(vocabulary), pre_tokenizers.WhitespaceSplit(), "always")


def _albert(vocabulary: Vocabulary, settings: Settings, roles: Roles) -> Tokenizer:
    steps: list[Any] = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
    if not settings.flag("keep_accents", False):
        steps += [normalizers.NFKD(), normalizers.StripAccents()]
    if settings.flag("do_lower_case", True):
        steps.append(normalizers.Lowercase())
    steps += _characters(vocabulary)
    return _unigram(vocabulary, 1, steps, pre_tokenizers.WhitespaceSplit(), _scheme(settings))


def _spaces_and_nfc() -> list[Any]:
    whites = normalizers.Replace(Regex(r"\s{2,}|[\n\r\t]"), " ")
    return [whites, normalizers.NFC(), normalizers.Strip(left=False, right=True)]


def _deberta_v2(vocabulary: Vocabulary, settings: Settings, roles: Roles) -> Tokenizer:
    steps = [normalizers.Lowercase()] if settings.flag("do_lower_case", False) else []
    default = settings.config.get("unk_id", vocabulary.unknown if vocabulary.unknown is not None else 1)
    unknown = _unknown(vocabulary, settings, roles, default if type(default) is int else -1)
    split = pre_tokenizers.Punctuation(behavior="isolated") if settings.flag("split_by_punct", False) else None
    return _unigram(vocabulary, unknown, [*steps, *_spaces_and_nfc()], split, _scheme(settings, "first"))


def _fairseq_pieces(pieces: list[tuple[str, float]], settings: Settings) -> list[tuple[str, float]]:
    """fairseq's order of the special pieces in place of SentencePiece's own three."""
    first = [
        (settings.token(role, ROBERTA_ROLES[role]), 0.0)
        for role in ("bos_token", "pad_token", "eos_token", "unk_token")
    ]
    return [*first, *pieces[3:], (settings.token("mask_token", "<mask>"), 0.0)]


def _camembert_pieces(pieces: list[tuple[str, float]], settings: Settings) -> list[tuple[str, float]]:
    pad, unknown, mask = (
        settings.token(role, ROBERTA_ROLES[role]) for role in ("pad_token", "unk_token", "mask_token")
    )
    first = [("<s>NOTUSED", 0.0), (pad, 0.0), ("</s>NOTUSED", 0.0), (unknown, 0.0), ("<unk>NOTUSED", -100.0)]
    return [*first, *pieces[1:], (mask, 0.0)]


T5_EXTRA = tuple(f"<extra_id_{index}>" for index in range(100))
_BERT_ENDS = Ends("cls $A sep", "cls $A sep $B:1 sep:1")
_ROBERTA_ENDS = Ends("cls $A sep", "cls $A sep sep $B sep", roberta=True)
_FAIRSEQ_ENDS = Ends("bos $A eos", "bos $A eos eos $B eos")

BERT = TokenizerClass("WordPiece", BERT_ROLES, _word_piece, _BERT_ENDS, types=True)
DISTILBERT = replace(BERT, types=False)
MPNET = TokenizerClass("WordPiece", {**ROBERTA_ROLES, "unk_token": "[UNK]"}, _word_piece, _ROBERTA_ENDS)
ROBERTA = TokenizerClass("BPE", ROBERTA_ROLES, _byte_level, _ROBERTA_ENDS)
DEBERTA = TokenizerClass(
    "BPE",
    {**BERT_ROLES, "bos_token": "[CLS]", "eos_token": "[SEP]"},
    _byte_level,
    Ends("cls $A sep", "cls $A sep sep $B sep"),
    types=True,
)
XLM_ROBERTA = TokenizerClass(
    "Unigram",
    ROBERTA_ROLES,
    _xlm_roberta,
    _FAIRSEQ_ENDS,
    model_file="sentencepiece.bpe.model",
    pieces=_fairseq_pieces,
)
CAMEMBERT = TokenizerClass(
    "Unigram",
    ROBERTA_ROLES,
    _camembert,
    _FAIRSEQ_ENDS,
    extra=("<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"),
    model_file="sentencepiece.bpe.model",
    pieces=_camembert_pieces,
)
_UNIGRAM_BERT_ROLES: Roles = {
    **BERT_ROLES,
    "bos_token": "[CLS]",
    "eos_token": "[SEP]",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "mask_token": AddedToken("[MASK]", lstrip=True, special=True),
}
ALBERT = TokenizerClass(
    "Unigram", _UNIGRAM_BERT_ROLES, _albert, _BERT_ENDS, stored_ends=True, model_file="spiece.model"
)
DEBERTA_V2 = TokenizerClass(
    "Unigram",
    {**BERT_ROLES, "bos_token": "[CLS]", "eos_token": "[SEP]"},
    _deberta_v2,
    _BERT_ENDS,
    types=True,
    model_file="spm.model",
)
T5 = TokenizerClass(
    "Unigram",
    {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"},
    _t5,
    Ends("$A eos", "$A eos $B eos"),
    extra=T5_EXTRA,
    model_file="spiece.model",
    pieces=lambda pieces, settings: [*pieces, *((token, 0.0) for token in reversed(T5_EXTRA))],
)
#: By the name in tokenizer_config.json, without "Fast". Those with no class of their own in transformers 5 are what
#: they were in transformers 4.
CLASSES: dict[str, TokenizerClass] = {
    "BertTokenizer": BERT,
    "ConvBertTokenizer": BERT,
    "DPRContextEncoderTokenizer": BERT,
    "DPRQuestionEncoderTokenizer": BERT,
    "ElectraTokenizer": BERT,
    "LayoutLMTokenizer": BERT,
    "LxmertTokenizer": BERT,
    "MobileBertTokenizer": BERT,
    "NezhaTokenizer": BERT,
    "RetriBertTokenizer": replace(BERT, types=False),
    "SqueezeBertTokenizer": BERT,
    "DistilBertTokenizer": DISTILBERT,
    "MPNetTokenizer": MPNET,
    "RobertaTokenizer": ROBERTA,
    "BartTokenizer": ROBERTA,
    "LEDTokenizer": ROBERTA,
    "LongformerTokenizer": ROBERTA,
    "DebertaTokenizer": DEBERTA,
    "XLMRobertaTokenizer": XLM_ROBERTA,
    "CamembertTokenizer": CAMEMBERT,
    "AlbertTokenizer": ALBERT,
    "DebertaV2Tokenizer": DEBERTA_V2,
    "T5Tokenizer": T5,
}
#: Classes that are a tokenizer.json and nothing else.
AS_STORED = ("PreTrainedTokenizer", "PreTrainedTokenizerFast", "TokenizersBackend", "PythonBackend")
#: Classes whose work is more than any tokenizer.json says, and what that is.
MORE_THAN_A_FILE = {
    "BertJapaneseTokenizer": "words are found by MeCab, Sudachi or Juman++",
    "BertweetTokenizer": "tweets are rewritten, and pieces merged by bpe.codes",
    "PhobertTokenizer": "pieces are merged by bpe.codes, in words that another program has found",
    "FlaubertTokenizer": "words are found by Moses",
    "XLMTokenizer": "words are found by Moses, and in some languages by other programs",
    "RoFormerTokenizer": "words are found by jieba",
    "RoCBertTokenizer": "the model reads shapes and sounds of characters besides",
    "TapasTokenizer": "the model reads rows and columns of a table besides",
    "CanineTokenizer": "the model reads characters",
    "ByT5Tokenizer": "the model reads bytes",
    "PerceiverTokenizer": "the model reads bytes",
    "LukeTokenizer": "the model reads entities besides",
    "MLukeTokenizer": "the model reads entities besides",
    "LayoutLMv2Tokenizer": "the model reads places on a page besides",
    "LayoutLMv3Tokenizer": "the model reads places on a page besides",
    "LayoutXLMTokenizer": "the model reads places on a page besides",
    "MarkupLMTokenizer": "the model reads paths of a web page besides",
    "EsmTokenizer": "the model reads amino acids",
}
