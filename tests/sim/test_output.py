"""Output folders are complete or not there, and never replace what is not theirs."""

from pathlib import Path

import numpy as np
import pytest

from golden import Parameters
from golden.state import State
from sim.output import load_state, output_folder, save_state

PARAMETERS = Parameters(
    layers=(5, 3), lanes=2, activation_shifts=(2,), delta_shifts=(), update_shifts=(9,)
)


def write(path: Path, text: str) -> None:
    with output_folder(path, "train") as folder:
        assert folder.parent == path.parent
        (folder / "result").write_text(text)


def test_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "out"
    write(path, "one")
    assert (path / "result").read_text() == "one"
    assert list(path.parent.iterdir()) == [path]


def test_replaced(tmp_path: Path) -> None:
    path = tmp_path / "out"
    write(path, "one")
    (path / "old").touch()
    write(path, "two")
    assert sorted(each.name for each in path.iterdir()) == [".nomul", "result"]
    assert (path / "result").read_text() == "two"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit])
def test_nothing_half_written(failure: type[BaseException], tmp_path: Path) -> None:
    path = tmp_path / "out"
    write(path, "one")
    with pytest.raises(failure), output_folder(path, "train") as folder:  # noqa: PT012
        (folder / "result").write_text("two")
        raise failure
    assert (path / "result").read_text() == "one"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", ["foreign folder", "file", "other command"])
def test_foreign_things_stay(content: str, tmp_path: Path) -> None:
    path = tmp_path / "out"
    if content == "file":
        path.touch()
    else:
        path.mkdir()
        (path / "thesis").touch()
        if content == "other command":
            (path / ".nomul").write_text("cosim\n")
    with pytest.raises(FileExistsError, match="is not an output of nomul train; remove it or"):
        write(path, "one")
    assert path.is_file() or (path / "thesis").exists()


def test_state_goes_to_a_file_and_back(tmp_path: Path) -> None:
    state = State.initial(PARAMETERS)
    state.biases += 7
    save_state(state, tmp_path / "state.npz")
    assert load_state(PARAMETERS, tmp_path / "state.npz") == state


def test_bad_state(tmp_path: Path) -> None:
    path = tmp_path / "state.npz"
    with pytest.raises(OSError, match="No such file"):
        load_state(PARAMETERS, path)
    path.write_text("text")
    with pytest.raises(ValueError, match="is not a state: save one with"):
        load_state(PARAMETERS, path)
    path.write_bytes(b"PK\x03\x04 torn off")
    with pytest.raises(ValueError, match="is not a state"):
        load_state(PARAMETERS, path)
    np.savez(path, weights=np.zeros(3))
    with pytest.raises(ValueError, match="it lacks biases, draw, update, dropout"):
        load_state(PARAMETERS, path)
    save_state(State.initial(PARAMETERS), path)
    with pytest.raises(ValueError, match=r"not a state of this configuration: state\.weights"):
        load_state(PARAMETERS.replace(lanes=3), path)
