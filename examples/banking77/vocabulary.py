"""WordPiece vocabularies for a small model: cut out of a large one, or learned from the texts."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

SPECIALS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
CHARACTERS = [chr(c) for c in range(33, 127) if not chr(c).isupper()] + ["£", "€"]


def wordpiece(vocabulary: Sequence[str]) -> Tokenizer:
    """An uncased BERT tokenizer over ``vocabulary`` (token = its index)."""
    tokenizer = Tokenizer(models.WordPiece({token: i for i, token in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.add_special_tokens(list(SPECIALS.values()))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [(token, vocabulary.index(token)) for token in ("[SEP]", "[CLS]")]
    tokenizer.post_processor = processors.BertProcessing(*ends)
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    return tokenizer


def trimmed_vocabulary(large: Tokenizer, texts: Sequence[str], size: int) -> list[str]:
    """The tokens that ``texts`` and single characters need of ``large``, and its commonest words, ``size`` in all.

    The order of ids stays that of ``large``: BERT's vocabularies run from common to rare.

    Raises:
        ValueError: the texts alone need more than ``size`` tokens.
    """
    vocabulary = large.get_vocab()
    order = sorted(vocabulary, key=vocabulary.__getitem__)
    needed = {token for encoding in large.encode_batch(list(texts)) for token in encoding.tokens}
    needed |= {*SPECIALS.values(), *CHARACTERS, *(f"##{c}" for c in CHARACTERS if c.isalnum())}
    needed &= vocabulary.keys()
    if len(needed) > size:
        raise ValueError(f"the training texts need {len(needed)} tokens: raise --vocab-size above {size}")
    common = [t for t in order if t not in needed and t.isascii() and t.isalpha() and len(t) > 1]
    kept = needed.union(common[: size - len(needed)])
    return [token for token in order if token in kept]


def trained_vocabulary(texts: Sequence[str], size: int) -> list[str]:
    """A WordPiece vocabulary learned from ``texts``."""
    tokenizer = wordpiece(list(SPECIALS.values()))
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, special_tokens=list(SPECIALS.values()), initial_alphabet=CHARACTERS, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    vocabulary = tokenizer.get_vocab()
    return sorted(vocabulary, key=vocabulary.__getitem__)


def encode(tokenizer: Tokenizer, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
    """Token ids with [CLS] and [SEP], cut to ``max_tokens``, without padding."""
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    ids = [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]
    tokenizer.no_truncation()
    return ids
