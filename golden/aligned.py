"""Arrays that begin at a cache line."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

#: Bytes of a cache line.
_CACHE_LINE = 64


def aligned_zeros(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return zeros that begin at a cache line, for arrays that are walked by whole vectors.

    A vector register is as long as a cache line, so that from any other address every access
    would touch two lines.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    buffer = np.zeros(size + _CACHE_LINE, np.uint8)
    start = -buffer.ctypes.data % _CACHE_LINE
    return buffer[start : start + size].view(dtype).reshape(shape)
