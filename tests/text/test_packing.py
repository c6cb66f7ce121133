from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from minibert.text.packing import pack


@given(st.lists(st.integers(1, 50), max_size=60), st.integers(1, 9), st.integers(1, 120))
def test_every_text_goes_once_and_no_batch_is_too_large(lengths, batch_size, max_tokens):
    batches = list(pack(lengths, batch_size, max_tokens))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) <= batch_size
        assert len(batch) == 1 or sum(lengths[index] for index in batch) <= max_tokens


def test_texts_of_like_length_share_a_batch():
    assert list(pack([9, 1, 8, 2], 2, 100)) == [[1, 3], [2, 0]]
