"""Forward and backward of one shard of a batch, in pieces after which shards are combined."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from ..common.arrays import Array
from ..kernels.memory import Memory
from ..layers import BatchNormalization, Layer, is_builtin
from ..layers.normalization import Shard as Numbers
from .gradients import Gradients, spans_of
from .inputs import Data
from .passes import Run
from .plan import Plan
from .step import Step


class Piece(NamedTuple):
    """The stages `span`, between the second half of the layer `begin` and the first half of `end`.

    Of the synchronized layer `end` the shard then has the statistics, or in the backward the sums.
    A number there: this bucket of gradients is complete. None: the loss follows.
    """

    is_forward: bool
    begin: BatchNormalization | None
    span: slice
    end: BatchNormalization | int | None

    @property
    def is_synchronized(self) -> bool:
        """Whether the numbers of all shards have to be combined after it."""
        return isinstance(self.end, BatchNormalization)


def pieces_of(plan: Plan) -> list[Piece]:
    """The pieces of a training pass, in order."""
    pieces = []
    cuts = {
        i: layer for i, stage in enumerate(plan.stages) if (layer := synchronized(stage.layers[0]))
    }
    begin: BatchNormalization | None = None
    start = 0
    for cut, layer in cuts.items():
        pieces.append(Piece(True, begin, slice(start, cut), layer))
        begin, start = layer, cut + 1
    pieces.append(Piece(True, begin, slice(start, len(plan.stages)), None))
    begin = None
    for number, span in enumerate(spans_of(plan)):
        stop = span.stop
        for cut, layer in reversed(cuts.items()):
            if not span.start <= cut < span.stop:
                continue
            pieces.append(Piece(False, begin, slice(cut + 1, stop), layer))
            begin, stop = layer, cut
        pieces.append(Piece(False, begin, slice(span.start, stop), number))
        begin = None
    return pieces


def synchronized(layer: Layer) -> BatchNormalization | None:
    """The layer, if it needs the numbers of all shards in the middle of its pass."""
    if isinstance(layer, BatchNormalization) and layer.synchronized and layer.trainable:
        return layer
    return None


class Shard(Step):
    """Forward and backward of one shard. `gradients`: where its gradients go."""

    def __init__(self, gradients: Gradients, pieces: Sequence[Piece], *args: Any) -> None:
        self.gradients, self.pieces = gradients, pieces
        self._d: Array | None = None  # dL/d(output of the stage where the last piece ended)
        # Custom layers keep a pass on themselves: if another shard's may come between its halves,
        # each shard has these attributes.
        self._kept: list[tuple[Layer, dict[str, Any]]] = [
            (layer, {"memory": Memory()})
            for layer in gradients.plan.layers
            if not is_builtin(layer) and any(each.is_synchronized for each in pieces)
        ]
        # Of the synchronized layers. Another pass with this memory may be the last to save there.
        self.numbers: dict[BatchNormalization, Numbers] = {}
        super().__init__(*args)

    def begin(self, data: Data, index: slice | Array, first: int) -> None:
        """Take the samples at `index`, the first of which has this place in the batch."""
        self.memory.first = first
        for _, _, change in self.gradients.changes:
            change[...] = 0
        self._fill_in(data, index)

    def run_piece(self, number: int) -> None:
        """Run a piece."""
        if not self._kept:
            self._parts[number]()
        elif self.pieces[number].is_forward:
            self._run_and_keep(number)
        else:
            for layer, kept in self._kept:
                vars(layer).update(kept)
            self._parts[number]()

    def _run_and_keep(self, number: int) -> None:
        """Run a forward piece, and remember what custom layers have assigned to themselves."""
        before = []
        for layer, kept in self._kept:
            layer.memory = kept["memory"]
            before.append(dict(vars(layer)))
        self._parts[number]()
        for (layer, kept), old in zip(self._kept, before, strict=True):
            kept |= {key: each for key, each in vars(layer).items() if each is not old.get(key)}

    def results(self) -> list[float]:
        """The part of the batch's loss that these samples are, and the sums of the metrics."""
        return [float(self._mean[0]), *self.measure()]

    def _functions(self) -> list[Run]:
        return [
            partial(self._run_forward if piece.is_forward else self._run_backward, piece)
            for piece in self.pieces
        ]

    def _run_forward(self, piece: Piece) -> None:
        y = self.x if piece.begin is None else piece.begin._normalize(self.memory)
        y = self.plan.forward(y, True, self.memory, piece.span)
        if isinstance(piece.end, BatchNormalization):
            piece.end._statistics(y, self.memory)
            self.numbers[piece.end] = piece.end._shard(self.memory)
        else:
            self._to_loss(y)

    def _run_backward(self, piece: Piece) -> None:
        if piece.begin is not None:
            d: Array | None = piece.begin._gradient(self.memory)
        elif piece.span.stop == len(self.plan.stages):
            d = self.loss_function.backward(self.share, self.model.kernels, self.memory)
        else:
            d = self._d
        assert d is not None
        self._d = d = self.plan.backward(d, self.memory, piece.span)
        if isinstance(piece.end, BatchNormalization):
            assert d is not None
            piece.end._sums(d, self.memory)
        done = slice(piece.span.start, piece.span.stop + (piece.begin is not None))
        self.gradients.collect(done)  # now: another shard's will be in the same places
