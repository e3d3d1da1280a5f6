"""The tokens of padded texts as rows of one matrix, with or without those that are padding."""

from typing import Any

from keras import ops


class Rows:
    """Which tokens of B texts, padded to S tokens each, are the T rows of the network's matrix.

    Without padding its arithmetic falls away; with it nothing need be gathered, which training has little use for:
    its batches are of texts of like length, and gathers slow down the backward pass.

    Args:
        attention_mask: 1 for tokens, 0 for padding, int [B, S].
        dtype: Of the attention scores.
        padded: Whether padding has rows too: T = B * S. Else T is the number of tokens.

    Attributes:
        shape: (B, S).
        bias: What the scores of each place are raised by: next to nothing is left of padding. [B, 1, 1, S]
    """

    def __init__(self, attention_mask: Any, dtype: str, *, padded: bool) -> None:
        self.shape = ops.shape(attention_mask)
        self.bias = (1.0 - ops.cast(attention_mask, dtype)[:, None, None, :]) * -1e9
        self._padded = padded
        if not padded:
            mask = ops.reshape(attention_mask, (-1,))
            self._places = ops.nonzero(mask)[0]  # of the rows, [T]
            # Of each place, [B, S]; padding has that of the token before it.
            self._row = ops.reshape(ops.maximum(ops.cumsum(mask) - 1, 0), self.shape)

    def take(self, x: Any) -> Any:
        """The rows out of what is at each place: [B, S, W] -> [T, W]."""
        x = ops.reshape(x, (-1, x.shape[-1]))
        return x if self._padded else ops.take(x, self._places, axis=0)

    def put(self, x: Any) -> Any:
        """Each row at its place, and another one where there is padding: [T, W] -> [B, S, W]."""
        return ops.reshape(x, (*self.shape, x.shape[-1])) if self._padded else ops.take(x, self._row, axis=0)

    def first(self, x: Any) -> Any:
        """The rows of the first tokens: [T, W] -> [B, W]."""
        return self.put(x)[:, 0] if self._padded else ops.take(x, self._row[:, 0], axis=0)
