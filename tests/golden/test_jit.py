"""The compile cache: filled once, never stale, shared by processes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import pytest
from platformdirs import user_cache_path

import golden
from golden.jit import CACHE_FOLDER, sources_digest

#: Prints the cache folder, the cache hits of a kernel that calls a unit, and what it computed.
PROGRAM = """
from golden import Parameters
from golden.jit import CACHE_FOLDER
from golden.state import State, _draw_initial_weights as kernel
p = Parameters(layers=(4, 3), activation_shifts=(3,), delta_shifts=(), update_shifts=(8,))
digest = State.initial(p).digest()
hits = sum(kernel.stats.cache_hits.values()) if hasattr(kernel, "stats") else None
print(CACHE_FOLDER, hits, digest)
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Return a folder that holds a copy of the package, outside of the checkout."""
    # Without Python's own compiled files, which an edit that keeps the time would leave in force.
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(golden.__file__).parent, tmp_path / "golden", ignore=ignored)
    return tmp_path


def start(folder: Path, **environment: str) -> subprocess.Popen[str]:
    environment = {"NUMBA_CACHE_DIR": str(folder / "cache")} | environment
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        cwd=folder,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[Path, str, str]:
    out, error = process.communicate()
    assert process.returncode == 0, error
    folder, hits, digest = out.split()
    return Path(folder), hits, digest


def edit(file: Path, before: str, after: str) -> None:
    """Edit a file, keeping its time of modification."""
    stat, source = file.stat(), file.read_text(encoding="utf-8")
    assert before in source
    file.write_text(source.replace(before, after), encoding="utf-8")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def edit_helper(package: Path) -> None:
    edit(package / "golden" / "random_source.py", "np.uint64(17)", "np.uint64(15)")


def test_an_edited_helper_is_compiled_anew(package: Path) -> None:
    first_folder, hits, first = finish(start(package))
    assert hits == "0"
    assert finish(start(package)) == (first_folder, "1", first)
    edit_helper(package)
    second_folder, hits, second = finish(start(package))
    assert second_folder != first_folder
    assert hits == "0"
    _, _, expected = finish(start(package, NUMBA_DISABLE_JIT="1"))
    assert second == expected != first


def test_numbas_own_cache_would_be_stale(package: Path) -> None:
    """The fault that the folder's name guards against is real: with a fixed name it shows."""
    edit(package / "golden" / "jit.py", "Path(base) / sources_digest()", 'Path(base) / "fixed"')
    _, _, first = finish(start(package))
    edit_helper(package)
    assert finish(start(package))[1:] == ("1", first)


def test_processes_that_start_together_agree(package: Path) -> None:
    _, _, expected = finish(start(package, NUMBA_DISABLE_JIT="1"))
    processes = [start(package) for _ in range(4)]
    assert {finish(process)[2] for process in processes} == {expected}
    assert finish(start(package))[1:] == ("1", expected)


def test_unwritable_cache_folder_means_no_cache(package: Path) -> None:
    (package / "cache").write_text("a file where the folder should be")
    folder, hits, digest = finish(start(package))
    assert (folder, hits) == (Path("None"), "0")
    assert digest == finish(start(package, NUMBA_DISABLE_JIT="1"))[2]
    assert not list(package.rglob("*.nbc"))


def test_folder_lies_in_the_users_cache_or_where_numba_was_told() -> None:
    base = numba.config.CACHE_DIR or user_cache_path("nomul", appauthor=False) / "numba"
    assert CACHE_FOLDER in (Path(base) / sources_digest(), None)
