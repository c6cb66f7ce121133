"""The pass that lets layers share their matrices."""

from __future__ import annotations

from dataclasses import dataclass

from minibert.format.constants import MAX_WIDTH
from minibert_converter.network import Network
from minibert_converter.passes.base import Context, Outcome, Pass
from minibert_converter.passes.options import TEXT, integer, option
from minibert_converter.passes.share.request import check_request
from minibert_converter.passes.share.sharing import share


@dataclass(frozen=True)
class Share(Pass):
    """Lets layers use one set of matrices, with low-rank differences."""

    share: str = option(
        TEXT,
        'layers that share their matrices: "2+3,4+5", 2x3, pairs, sandwich or similar:N',
        check=check_request,
        flag="--share",
        metavar="LAYERS",
    )
    low_rank: int = option(
        integer(0, MAX_WIDTH),
        "rank of what a layer adds to each shared matrix",
        0,
        flag="--share-rank",
        metavar="N",
    )

    def run(self, network: Network, context: Context) -> Outcome:
        """See `sharing.share`."""
        return share(network, self.share, self.low_rank, texts=context.texts, progress=context.progress)
