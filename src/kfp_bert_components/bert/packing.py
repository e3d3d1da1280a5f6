"""The tokens of padded texts, packed into one matrix without the padding."""

from typing import Any

from keras import ops


class Packing:
    """Packs B texts, padded to S tokens each, into a matrix of T tokens, and unpacks it.

    With `keep_padding` the matrix holds the padding too, and nothing is gathered. That is for training: its batches are
    of texts of similar length, with little padding, and gathering slows down the backward pass.

    Args:
        attention_mask: 1 for tokens, 0 for padding, int [B, S].
        dtype: Of the attention scores.
        keep_padding: Whether T is B * S. Otherwise it is the number of tokens.

    Attributes:
        shape: (B, S).
        bias: What is added to attention scores, so that padding gets no weight: 0 for tokens, -1e9 for padding,
            [B, 1, 1, S].
    """

    def __init__(self, attention_mask: Any, dtype: str, *, keep_padding: bool) -> None:
        self.shape = ops.shape(attention_mask)
        self.bias = (1.0 - ops.cast(attention_mask, dtype)[:, None, None, :]) * -1e9
        self._keep_padding = keep_padding
        if not keep_padding:
            mask = ops.reshape(attention_mask, (-1,))
            self._places = ops.nonzero(mask)[0]  # where each packed token was among all B * S, [T]
            # which packed token stands at each place, [B, S]; padding repeats the token before it
            self._tokens = ops.reshape(ops.maximum(ops.cumsum(mask) - 1, 0), self.shape)

    def pack(self, x: Any) -> Any:
        """[B, S, W] -> [T, W]."""
        x = ops.reshape(x, (-1, x.shape[-1]))
        return x if self._keep_padding else ops.take(x, self._places, axis=0)

    def unpack(self, x: Any) -> Any:
        """[T, W] -> [B, S, W]; what stands at padding has no meaning."""
        if self._keep_padding:
            return ops.reshape(x, (*self.shape, x.shape[-1]))
        return ops.take(x, self._tokens, axis=0)

    def first(self, x: Any) -> Any:
        """The first token of each text: [T, W] -> [B, W]."""
        return self.unpack(x)[:, 0] if self._keep_padding else ops.take(x, self._tokens[:, 0], axis=0)
