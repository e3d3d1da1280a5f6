"""How much memory a run will take, known before its first step."""

from typing import Any

# Floats that a layer keeps for its gradient, measured with benchmarks/memory.py: for each token so many times the
# width and the inner width, and so many for each token that it attends to, in each head. The first three are those of
# TensorFlow's operations, the others those of `bert.fused`.
_PLAIN = (10, 4, 1.8)
_FUSED = (9, 4, 1.3)
_GRAPH = 15_000_000  # bytes that tracing and compiling take for each layer


def memory_needed(
    config: Any,
    *,
    used: int,
    weights: int,
    trained: int,
    rows: int,
    tokens: int,
    fused: bool,
    checkpoints: bool,
    accumulates: bool,
    on_gpu: bool,
) -> float:
    """The most bytes of this machine's memory that training, and writing the bundle after it, are expected to take.

    Args:
        config: The `bert.BertConfig` of the network.
        used: Bytes that the process has, with rows and network already there.
        weights: Weights of the network.
        trained: Those that are trained: without the embeddings of words that the rows don't have.
        rows: Rows in a batch on one device.
        tokens: Tokens of the longest row.
        fused: Whether training uses `bert.fused`.
        checkpoints: Whether checkpoints are written, of which a copy is kept.
        accumulates: Whether gradients of several batches are added up.
        on_gpu: Whether weights, gradients and what layers keep are in the memory of a GPU.
    """
    of_width, of_inner, of_heads = _FUSED if fused else _PLAIN
    floats = of_width * config.hidden_size + of_inner * config.intermediate_size
    floats += of_heads * config.num_attention_heads * tokens
    kept = 4 * rows * tokens * config.num_hidden_layers * floats
    copies = 1 + (3 if checkpoints else 0)  # the best weights; weights and two moments
    if not on_gpu:
        copies += 4 + accumulates  # weights, two moments, gradients
    else:
        kept = 0
    export = 2 * weights  # read again, and written
    return used + config.num_hidden_layers * _GRAPH + kept + 4 * (copies * trained + export)
