"""The network as an ONNX graph for ONNX Runtime, with the same results as `bert.encoder`.

In float32 it holds standard operators only (opset 17, IR 8), and its weights are those of
huggingface/model.safetensors: the graph names the file, and the place of each tensor in it. In int8 the matrices of the
layers have 8 bits a weight (MatMulNBits, an operator of ONNX Runtime's own), and all weights are in model.onnx.data.

Shapes in comments: B texts, S tokens in the longest, T tokens in all, H hidden width, A attention heads, C classes.
Between attention layers the tokens of all texts are one matrix [T, H] without padding, as in `bert.packing`; only
attention computes any padding. The last layer is computed for the first token of each text.
"""

import json
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from kfp_bert_components.bert.bundle import MODEL, OWN_WEIGHTS, WEIGHTS
from kfp_bert_components.bert.config import BertConfig
from kfp_bert_components.bert.onnx_model import INPUTS

OPSET, IR = 17, 8
BLOCK = 32  # weights that share a scale in int8
ALIGNMENT = 64  # bytes, of each tensor in model.onnx.data


def write_graph(folder: Path, config: BertConfig, precision: str = "float32") -> None:
    """Write model.onnx into the folder of a bundle, made of its huggingface/model.safetensors.

    The same config and weights give the same bytes.

    Args:
        folder: The folder of the bundle.
        config: The shape of the network.
        precision: "float32", where the graph refers to the weights in model.safetensors, or "int8", where they are
            written to model.onnx.data.
    """
    with Int8Graph(folder) if precision == "int8" else Graph(folder) as graph:
        model = graph.finished(bert(graph, config), len(config.labels))
    (folder / MODEL).write_bytes(model.SerializeToString(deterministic=True))


class Graph:
    """An ONNX graph that is being made: each method adds to it and returns the name of its result.

    Args:
        folder: The folder of the bundle, with its model.safetensors; only the header of this file is read.
    """

    _more_opsets: tuple[Any, ...] = ()

    def __init__(self, folder: Path) -> None:
        self._safetensors = (folder / WEIGHTS).open("rb")
        (size,) = struct.unpack("<Q", self._safetensors.read(8))
        self._tensors: dict[str, Any] = json.loads(self._safetensors.read(size))
        self._start = 8 + size
        self._nodes: list[NodeProto] = []
        self._held: dict[str, TensorProto] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._safetensors.close()

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """The result of a standard operator."""
        return self.ops(kind, *inputs, results=1, **attributes)[0]

    def ops(self, kind: str, *inputs: str, results: int, **attributes: Any) -> list[str]:
        """The results of a standard operator that has several."""
        names = [f"{kind}_{len(self._nodes)}_{i}" for i in range(results)]
        self._nodes.append(helper.make_node(kind, list(inputs), names, names[0], **attributes))
        return names

    def weight(self, name: str) -> str:
        """A tensor of the safetensors file."""
        shape, begin, end = self._place(name)
        return self._outside(name, TensorProto.FLOAT, shape, WEIGHTS, begin, end - begin)

    def _place(self, name: str) -> tuple[list[int], int, int]:
        """A tensor of the safetensors file: its shape, and where its bytes begin and end."""
        found = self._tensors[name]
        begin, end = found["data_offsets"]
        return found["shape"], self._start + begin, self._start + end

    def _outside(self, name: str, kind: int, shape: Sequence[int], location: str, offset: int, length: int) -> str:
        """A tensor whose bytes are in another file."""
        tensor = TensorProto(name=name, data_type=kind, dims=shape, data_location=TensorProto.EXTERNAL)
        for key, value in {"location": location, "offset": offset, "length": length}.items():
            tensor.external_data.add(key=key, value=str(value))
        return self._hold(tensor)

    def number(self, value: float) -> str:
        """A float32 constant."""
        return self._hold(numpy_helper.from_array(np.array(value, np.float32), f"float32 {value!r}"))

    def whole(self, *values: int) -> str:
        """An int64 constant: a vector, as most operators want it."""
        return self._hold(numpy_helper.from_array(np.array(values, np.int64), f"int64 {list(values)}"))

    def whole_scalar(self, value: int) -> str:
        """An int64 constant without a dimension."""
        return self._hold(numpy_helper.from_array(np.array(value, np.int64), f"int64 {value}"))

    def dense(self, x: str, *layers: str) -> str:
        """A dense layer, or several that have the same input, side by side in the columns of the result."""
        kernels = [self.weight(f"{layer}.weight") for layer in layers]
        biases = [self.weight(f"{layer}.bias") for layer in layers]
        kernel, bias = (
            parts[0] if len(parts) == 1 else self.op("Concat", *parts, axis=0) for parts in (kernels, biases)
        )
        return self.op("Gemm", x, kernel, bias, transB=1)

    def norm(self, x: str, layer: str, epsilon: float) -> str:
        """A layer norm over the last dimension."""
        scale, bias = self.weight(f"{layer}.weight"), self.weight(f"{layer}.bias")
        return self.op("LayerNormalization", x, scale, bias, axis=-1, epsilon=epsilon)

    def _hold(self, tensor: TensorProto) -> str:
        self._held.setdefault(tensor.name, tensor)
        return tensor.name

    def finished(self, logits: str, classes: int) -> ModelProto:
        """The model with the inputs INPUTS, int64 [batch, length] each, and the output `logits`."""
        self._nodes.append(helper.make_node("Identity", [logits], ["logits"], "logits"))
        graph = helper.make_graph(
            self._nodes,
            "bert",
            [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"]) for name in INPUTS],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", classes])],
            list(self._held.values()),
        )
        opsets = [helper.make_opsetid("", OPSET), *self._more_opsets]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR, producer_name="kfp-bert-components")


class Int8Graph(Graph):
    """A graph whose encoder layers have matrices of 8 bits a weight, all of its weights in model.onnx.data.

    A row of BLOCK weights has one scale: the largest of them is 127. Inputs of a matrix are rounded to 8 bits as well,
    each row of them by itself, so that an answer does not depend on the other texts in its batch.
    """

    _more_opsets = (helper.make_opsetid("com.microsoft", 1),)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._data = (folder / OWN_WEIGHTS).open("wb")

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._data.close()

    def weight(self, name: str) -> str:
        """A tensor of the safetensors file, copied to model.onnx.data."""
        return name if name in self._held else self._write(name, self._read(name))

    def dense(self, x: str, *layers: str) -> str:
        """A dense layer, or several side by side; those of the encoder's layers by matrices of 8 bits."""
        if "encoder.layer" not in layers[0]:
            return super().dense(x, *layers)
        kernel, bias = (
            np.concatenate([self._read(f"{layer}.{part}") for layer in layers]) for part in ("weight", "bias")
        )
        weights, scales = quantized(kernel)
        name, (rows, columns) = layers[0], kernel.shape
        inputs = [
            self._write(f"{name}.weight int8", weights),
            self._write(f"{name}.weight scales", scales.ravel()),
            "",
            "",
            self._write(f"{name}.bias", bias),
        ]
        sizes = {"N": rows, "K": columns, "bits": 8, "block_size": BLOCK, "accuracy_level": 4}
        return self.op("MatMulNBits", x, *inputs, domain="com.microsoft", **sizes)

    def _read(self, name: str) -> np.ndarray:
        shape, begin, end = self._place(name)
        self._safetensors.seek(begin)
        return np.frombuffer(self._safetensors.read(end - begin), "<f4").reshape(shape)

    def _write(self, name: str, values: np.ndarray) -> str:
        self._data.write(b"\0" * (-self._data.tell() % ALIGNMENT))
        offset, kind = self._data.tell(), helper.np_dtype_to_tensor_dtype(values.dtype)
        self._data.write(values.tobytes())
        return self._outside(name, kind, values.shape, OWN_WEIGHTS, offset, values.nbytes)


def quantized(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A matrix in 8 bits: weight = (number - 128) * scale.

    Args:
        kernel: float32 [rows, columns].

    Returns:
        The numbers, uint8 [rows, blocks, BLOCK], of which the last block of a row may be filled up with 128, and the
        scales, float32 [rows, blocks].
    """
    rows, columns = kernel.shape
    blocks = -(-columns // BLOCK)
    filled = np.zeros((rows, blocks * BLOCK), np.float32)
    filled[:, :columns] = kernel
    parts = filled.reshape(rows, blocks, BLOCK)
    scales = np.abs(parts).max(axis=2) / np.float32(127)
    numbers = np.rint(parts / np.where(scales, scales, np.float32(1))[:, :, None]) + 128
    return numbers.astype(np.uint8), scales


class Padding:
    """Packs texts padded to S tokens into a matrix of their T tokens, and unpacks it; see `bert.packing`."""

    def __init__(self, graph: Graph, mask: str) -> None:
        self._graph, op = graph, graph.op
        shape, flat = op("Shape", mask), op("Reshape", mask, graph.whole(-1))
        # where each packed token was among all B * S, [T]
        self.places = op("Reshape", op("NonZero", flat), graph.whole(-1))
        before = op("Sub", op("CumSum", flat, graph.whole_scalar(0)), graph.whole(1))
        # which packed token stands at each place, [B, S]; padding repeats the token before it
        self._tokens = op("Reshape", op("Max", before, graph.whole(0)), shape)
        self._first = op("Gather", self._tokens, graph.whole_scalar(0), axis=1)
        length = op("Gather", shape, graph.whole_scalar(1))
        self.positions = op("Mod", self.places, length)  # of each packed token in its text, [T]
        padding = op("Sub", graph.number(1), op("Cast", op("Unsqueeze", mask, graph.whole(1, 2)), to=TensorProto.FLOAT))
        self.bias = op("Mul", padding, graph.number(-1e9))  # of attention scores, [B, 1, 1, S]

    def pack(self, x: str, *width: int) -> str:
        """[B, S, width] -> [T, width]."""
        return self._graph.op("Gather", self._graph.op("Reshape", x, self._graph.whole(-1, *width)), self.places)

    def unpack(self, x: str) -> str:
        """[T, width] -> [B, S, width]; what stands at padding has no meaning."""
        return self._graph.op("Gather", x, self._tokens)

    def first(self, x: str) -> str:
        """The first token of each text: [T, width] -> [B, width]."""
        return self._graph.op("Gather", x, self._first)


def bert(graph: Graph, config: BertConfig) -> str:
    """Add the network to the graph: the name of its logits, [B, C]."""
    ids, mask, types = INPUTS
    padding, epsilon = Padding(graph, mask), config.layer_norm_eps
    tables = {"word": padding.pack(ids), "token_type": padding.pack(types), "position": padding.positions}
    word, token_type, position = (
        graph.op("Gather", graph.weight(f"bert.embeddings.{name}_embeddings.weight"), rows)
        for name, rows in tables.items()
    )
    x = graph.op("Add", graph.op("Add", word, token_type), position)
    x = graph.norm(x, "bert.embeddings.LayerNorm", epsilon)
    for number in range(config.num_hidden_layers):
        layer, first = f"bert.encoder.layer.{number}", number == config.num_hidden_layers - 1
        attended = _attention(graph, config, padding, x, f"{layer}.attention.self", first)
        x = padding.first(x) if first else x
        x = graph.op("Add", graph.dense(attended, f"{layer}.attention.output.dense"), x)
        x = graph.norm(x, f"{layer}.attention.output.LayerNorm", epsilon)
        inner = ACTIVATIONS[config.hidden_act](graph, graph.dense(x, f"{layer}.intermediate.dense"))
        x = graph.op("Add", graph.dense(inner, f"{layer}.output.dense"), x)
        x = graph.norm(x, f"{layer}.output.LayerNorm", epsilon)
    return graph.dense(graph.op("Tanh", graph.dense(x, "bert.pooler.dense")), "classifier")


def _attention(graph: Graph, config: BertConfig, padding: Padding, x: str, layer: str, first: bool) -> str:
    """Self-attention: x [T, H] -> [T, H], or [B, H] with `first`, for the first token of each text only."""
    op, whole, width, heads = graph.op, graph.whole, config.hidden_size, config.num_attention_heads
    size = width // heads

    def split(part: str, order: Sequence[int]) -> str:
        return op("Transpose", op("Reshape", part, whole(0, 0, heads, size)), perm=order)

    qkv = padding.unpack(graph.dense(x, *(f"{layer}.{name}" for name in ("query", "key", "value"))))
    query, key, value = graph.ops("Split", qkv, whole(width, width, width), results=3, axis=2)
    if first:
        query = op("Slice", query, whole(0), whole(1), whole(1))
    query = op("Mul", split(query, [0, 2, 1, 3]), graph.number(size**-0.5))
    scores = op("Add", op("MatMul", query, split(key, [0, 2, 3, 1])), padding.bias)  # [B, A, S, S]
    mixed = op("MatMul", op("Softmax", scores, axis=-1), split(value, [0, 2, 1, 3]))
    mixed = op("Reshape", op("Transpose", mixed, perm=[0, 2, 1, 3]), whole(-1, width))
    return mixed if first else op("Gather", mixed, padding.places)


def _gelu(graph: Graph, x: str) -> str:
    erf = graph.op("Erf", graph.op("Div", x, graph.number(2**0.5)))
    return graph.op("Mul", graph.op("Mul", x, graph.op("Add", erf, graph.number(1))), graph.number(0.5))


def _gelu_tanh(graph: Graph, x: str) -> str:
    cube = graph.op("Mul", graph.op("Mul", graph.op("Mul", x, x), x), graph.number(0.044715))
    tanh = graph.op("Tanh", graph.op("Mul", graph.op("Add", x, cube), graph.number((2 / np.pi) ** 0.5)))
    return graph.op("Mul", graph.op("Mul", x, graph.op("Add", tanh, graph.number(1))), graph.number(0.5))


def _quick_gelu(graph: Graph, x: str) -> str:
    return graph.op("Mul", x, graph.op("Sigmoid", graph.op("Mul", x, graph.number(1.702))))


def _relu2(graph: Graph, x: str) -> str:
    relu = graph.op("Relu", x)
    return graph.op("Mul", relu, relu)


def _mish(graph: Graph, x: str) -> str:
    return graph.op("Mul", x, graph.op("Tanh", graph.op("Softplus", x)))


# The same names as in `bert.encoder.ACTIVATIONS`.
ACTIVATIONS: dict[str, Callable[[Graph, str], str]] = {
    "gelu": _gelu,
    "gelu_python": _gelu,
    "gelu_new": _gelu_tanh,
    "gelu_pytorch_tanh": _gelu_tanh,
    "gelu_python_tanh": _gelu_tanh,
    "gelu_fast": _gelu_tanh,
    "quick_gelu": _quick_gelu,
    "relu": lambda graph, x: graph.op("Relu", x),
    "relu2": _relu2,
    "relu6": lambda graph, x: graph.op("Clip", x, graph.number(0), graph.number(6)),
    "silu": lambda graph, x: graph.op("Mul", x, graph.op("Sigmoid", x)),
    "swish": lambda graph, x: graph.op("Mul", x, graph.op("Sigmoid", x)),
    "mish": _mish,
    "tanh": lambda graph, x: graph.op("Tanh", x),
    "sigmoid": lambda graph, x: graph.op("Sigmoid", x),
    "linear": lambda graph, x: x,
}
