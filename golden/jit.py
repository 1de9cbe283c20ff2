"""Compilation of the golden model: Numba, with an on-disk cache that is never stale.

Numba's own cache looks at the file of the compiled function only: a helper that is edited in
another file leaves its callers with the old answer. Here the cache folder's name is a hash of every
source file of the package, so that any edit starts an empty one.

The folder lies in the user's cache folder, or in ``NUMBA_CACHE_DIR`` when that is set. With
``NUMBA_DISABLE_JIT=1`` both decorators return the plain Python function.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import numba
from platformdirs import user_cache_path

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

_settings = vars(numba.config)


def sources_digest() -> str:
    """Return the hash of all source files of this package, in hexadecimal."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        source = path.read_bytes()
        digest.update(f"{path.name} {len(source)}\n".encode())
        digest.update(source)
    return digest.hexdigest()[:16]


def _make_cache_folder() -> Path | None:
    """Create the cache folder; ``None`` if it cannot be written, as in a read-only container."""
    base = _settings["CACHE_DIR"] or user_cache_path("nomul", appauthor=False) / "numba"
    folder = Path(base) / sources_digest()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    # Numba would fall back to a cache beside the source files, which can be stale.
    return folder if os.access(folder, os.W_OK) else None


#: Where compiled code is kept; ``None`` compiles anew in every process.
CACHE_FOLDER = _make_cache_folder()


def unit(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Compile a small function that is inlined into the kernels that call it; not cached.

    A unit takes and returns 64-bit scalars, unless it says otherwise: ``np.uint64`` for the state
    of a random source and ``int`` for everything else. (Numba makes a float of ``uint64 + int64``.)
    """
    return cast(Callable[Arguments, Result], numba.njit(function, nogil=True))


def part(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Compile a part of a kernel, which is handed arrays; it becomes one with its caller.

    References to the arrays are not counted: the caller holds them, and the counting can take
    longer than the work. So a part allocates nothing.
    """
    # Type hints leave out these options. Python never calls a part, so that wrappers for it would
    # be compiled in vain.
    options: dict[str, Any] = {"nogil": True, "_nrt": False, "forceinline": True}
    options |= {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    compiled: Callable[Arguments, Result] = numba.njit(function, **options)
    return compiled


def jit(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Compile a kernel: a function over arrays that Python calls; cached on disk.

    Call it with one combination of argument types only: processes that save different ones at the
    same moment would disturb each other's entries.
    """
    if CACHE_FOLDER is None:
        return unit(function)
    # Numba reads the folder when a function is decorated; other users of Numba keep theirs.
    before = _settings["CACHE_DIR"]
    _settings["CACHE_DIR"] = str(CACHE_FOLDER)
    try:
        return cast(Callable[Arguments, Result], numba.njit(function, cache=True, nogil=True))
    finally:
        _settings["CACHE_DIR"] = before
