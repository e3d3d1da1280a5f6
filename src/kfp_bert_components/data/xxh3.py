"""XXH3 of many texts at once, without a Python object for each.

The 64-bit variant with seed 0 and the default secret, as the `xxhash` package computes it (Collet: xxHash fast digest
algorithm, doc/xxhash_spec.md of version 0.2.0).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.np.arrayobj import make_array

from kfp_bert_components.data.compiled import compiled, instruction

_SECRET = np.frombuffer(
    bytes.fromhex(
        "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221"
        "b8084674f743248ee03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
        "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb"
        "170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
    ),
    np.uint8,
)
_P32_1, _P32_2, _P32_3 = np.uint64(0x9E3779B1), np.uint64(0x85EBCA77), np.uint64(0xC2B2AE3D)
_P64_1, _P64_2, _P64_3 = np.uint64(0x9E3779B185EBCA87), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0x165667B19E3779F9)
_P64_4, _P64_5 = np.uint64(0x85EBCA77C2B2AE63), np.uint64(0x27D4EB2F165667C5)
_START = np.array([_P32_3, _P64_1, _P64_2, _P64_3, _P64_4, _P32_2, _P64_5, _P32_1])
_LOW, _8, _16, _32 = np.uint64(0xFFFFFFFF), np.uint64(8), np.uint64(16), np.uint64(32)


@compiled
def xxh3(data: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The hash of each text.

    Args:
        data: The bytes that all texts lie in, uint8.
        starts: Where each text starts, and the end of the last, int [n + 1].

    Returns:
        uint64 [n].
    """
    found, lanes = np.empty(len(starts) - 1, np.uint64), np.empty(8, np.uint64)
    for index in range(len(found)):
        start, end = np.uint64(starts[index]), np.uint64(starts[index + 1])
        if end - start > 240:
            found[index] = _long(data, start, end, lanes)
        elif end - start > 16:
            found[index] = _medium(data, start, end)
        else:
            found[index] = _short(data, start, end)
    return found


@compiled
def _short(data: np.ndarray, start: int, end: int) -> int:
    """Up to 16 bytes."""
    size = end - start
    if size > 8:
        low = _read(data, start) ^ _read(_SECRET, 24) ^ _read(_SECRET, 32)
        high = _read(data, end - _8) ^ _read(_SECRET, 40) ^ _read(_SECRET, 48)
        swapped = np.uint64(0)
        for byte in range(8):
            swapped = swapped << _8 | low >> np.uint64(8 * byte) & np.uint64(255)
        return _avalanche(size + swapped + high + _fold(low, high))
    value = np.uint64(0)
    if size > 3:
        for byte in range(4):
            value |= np.uint64(data[end - np.uint64(4 - byte)]) << np.uint64(8 * byte)
            value |= np.uint64(data[start + np.uint64(byte)]) << np.uint64(32 + 8 * byte)
        value ^= _read(_SECRET, 8) ^ _read(_SECRET, 16)
        value ^= (value << np.uint64(49) | value >> np.uint64(15)) ^ (value << np.uint64(24) | value >> np.uint64(40))
        value *= np.uint64(0x9FB21C651E98DF25)
        value = (value ^ (value >> np.uint64(35)) + size) * np.uint64(0x9FB21C651E98DF25)
        return value ^ value >> np.uint64(28)
    if size:
        first, middle, last = data[start], data[start + (size >> np.uint64(1))], data[end - np.uint64(1)]
        value = np.uint64(first) << _16 | np.uint64(middle) << np.uint64(24) | np.uint64(last) | size << _8
        value ^= (_read(_SECRET, 0) ^ _read(_SECRET, 0) >> _32) & _LOW
    else:
        value = _read(_SECRET, 56) ^ _read(_SECRET, 64)
    value = (value ^ value >> np.uint64(33)) * _P64_2
    value = (value ^ value >> np.uint64(29)) * _P64_3
    return value ^ value >> _32


@compiled
def _medium(data: np.ndarray, start: int, end: int) -> int:
    """17 to 240 bytes: 16 at a time, up to 128 from both ends towards the middle."""
    size = end - start
    value = size * _P64_1
    if size <= 128:
        for step in range(np.uint64(0), ((size - np.uint64(1)) >> np.uint64(5)) + np.uint64(1)):
            value += _mixed(data, start + _16 * step, _32 * step)
            value += _mixed(data, end - _16 * (step + np.uint64(1)), _32 * step + _16)
        return _avalanche(value)
    for step in range(np.uint64(0), _8):
        value += _mixed(data, start + _16 * step, _16 * step)
    value = _avalanche(value)
    for step in range(_8, size >> np.uint64(4)):
        value += _mixed(data, start + _16 * step, _16 * step - np.uint64(125))
    return _avalanche(value + _mixed(data, end - _16, np.uint64(119)))


@compiled
def _long(data: np.ndarray, start: int, end: int, lanes: np.ndarray) -> int:
    """More than 240 bytes: stripes of 64 into eight lanes, which are scrambled after every 16 stripes."""
    for lane in range(8):
        lanes[lane] = _START[lane]
    for stripe in range(np.uint64(0), (end - start - np.uint64(1)) >> np.uint64(6)):
        _accumulate(lanes, data, start + np.uint64(64) * stripe, _8 * (stripe & np.uint64(15)))
        if stripe & np.uint64(15) == np.uint64(15):
            for lane in range(8):
                value = lanes[lane]
                lanes[lane] = (value ^ value >> np.uint64(47) ^ _read(_SECRET, 128 + 8 * lane)) * _P32_1
    _accumulate(lanes, data, end - np.uint64(64), np.uint64(121))
    value = (end - start) * _P64_1
    for lane in range(0, 8, 2):
        value += _fold(lanes[lane] ^ _read(_SECRET, 11 + 8 * lane), lanes[lane + 1] ^ _read(_SECRET, 19 + 8 * lane))
    return _avalanche(value)


@compiled
def _accumulate(lanes: np.ndarray, data: np.ndarray, at: int, secret: int) -> None:
    for lane in range(8):
        value = _read(data, at + np.uint64(8 * lane))
        key = value ^ _read(_SECRET, secret + np.uint64(8 * lane))
        lanes[lane ^ 1] += value
        lanes[lane] += (key & _LOW) * (key >> _32)


@compiled
def _mixed(data: np.ndarray, at: int, secret: int) -> int:
    """16 bytes as one number."""
    return _fold(_read(data, at) ^ _read(_SECRET, secret), _read(data, at + _8) ^ _read(_SECRET, secret + _8))


@compiled
def _avalanche(value: int) -> int:
    value = (value ^ value >> np.uint64(37)) * np.uint64(0x165667919E3779F9)
    return value ^ value >> _32


@instruction
def _read(typing: Any, data: Any, place: Any) -> Any:
    """Eight bytes of an array from a place on, the first the lowest."""

    def load(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        start = make_array(signature.args[0])(context, builder, arguments[0]).data
        word = builder.bitcast(builder.gep(start, [arguments[1]]), ir.IntType(64).as_pointer())
        return builder.load(word, align=1)

    return types.uint64(data, types.uint64), load


@instruction
def _fold(typing: Any, one: Any, other: Any) -> Any:
    """The upper half of the product of two numbers, 128 bits, xor the lower."""

    def multiply(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(*(builder.zext(number, wide) for number in arguments))
        both = builder.xor(product, builder.lshr(product, wide(64)))
        return builder.trunc(both, ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), multiply
