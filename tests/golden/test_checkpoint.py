"""Checkpoints go to a file and back, and any other file is refused with one line."""

import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from golden import Parameters, checkpoint
from golden.checkpoint import FORMAT, STATE_PARAMETERS, Checkpoint, CheckpointError
from golden.network import Network
from golden.state import State
from tests.configurations import random_parameters, random_samples

PARAMETERS = Parameters(
    layers=(30, 20, 7),
    lanes=4,
    activation_shifts=(3, 2),
    delta_shifts=(3,),
    update_shifts=(9, 8),
    schedule=(2,),
)


def trained(parameters: Parameters = PARAMETERS, seed: int = 0, samples: int = 20) -> Checkpoint:
    network = Network(parameters)
    network.train(*random_samples(parameters, seed, samples))
    return Checkpoint(parameters, network.state, samples)


def refusal(path: Path) -> str:
    """Return the message with which a file is refused: one line, with its name."""
    with pytest.raises(CheckpointError) as caught:
        Checkpoint.load(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert "; " in message
    return message


@pytest.mark.parametrize("seed", range(10))
def test_to_a_file_and_back(seed: int, tmp_path: Path) -> None:
    saved = trained(random_parameters(seed), seed)
    saved.save(tmp_path / "one.npz")
    loaded = Checkpoint.load(tmp_path / "one.npz")
    assert loaded == saved
    assert loaded.state.digest() == saved.state.digest()
    loaded.save(tmp_path / "two.npz")
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["one.npz", "two.npz"]


@pytest.mark.parametrize("seed", range(5))
def test_training_goes_on_bit_for_bit(seed: int, tmp_path: Path) -> None:
    parameters = random_parameters(seed)
    pixels, labels = random_samples(parameters, seed, 50)
    whole, part = Network(parameters), Network(parameters)
    whole.train(pixels, labels)
    part.train(pixels[:20], labels[:20])
    Checkpoint(parameters, part.state, 20).save(tmp_path / "half.npz")
    loaded = Checkpoint.load(tmp_path / "half.npz")
    rest = Network(loaded.parameters, loaded.state)
    rest.train(pixels[loaded.samples :], labels[loaded.samples :])
    assert rest.state.digest() == whole.state.digest() != part.state.digest()


def test_plain_arrays(tmp_path: Path) -> None:
    """NumPy alone reads it; the content is that of format 1."""
    saved = trained()
    saved.save(tmp_path / "file.npz")
    with np.load(tmp_path / "file.npz", allow_pickle=False) as arrays:
        assert list(arrays) == [
            "nomul_checkpoint",
            "parameters",
            "samples",
            "weights",
            "biases",
            "draw",
            "update",
            "dropout",
        ], "another content is another format: count FORMAT up"
        assert (arrays["nomul_checkpoint"], FORMAT) == (1, 1)
        assert arrays["samples"] == 20
        assert Parameters.from_toml(arrays["parameters"].tobytes().decode()) == PARAMETERS
        assert np.array_equal(arrays["weights"], saved.state.weights)


def test_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "file.npz"
    trained().save(path)
    content = path.read_bytes()
    lengths = {*range(0, len(content), 1000), *range(100), *range(len(content) - 200, len(content))}
    for length in sorted(lengths):
        path.write_bytes(content[:length])
        assert re.search("is damaged|is not a checkpoint", refusal(path)), length
    path.write_bytes(content[:-1])
    assert "is damaged: its SHA-256" in refusal(path)
    path.write_bytes(content + b"\0")
    assert "is damaged" in refusal(path)


@pytest.mark.parametrize("seed", range(3))
def test_flipped_bits(seed: int, tmp_path: Path) -> None:
    """Also in what a ZIP archive does not check itself: names, times, the directory."""
    path = tmp_path / "file.npz"
    trained().save(path)
    content = path.read_bytes()
    rng = np.random.default_rng(seed)
    ends = [*range(100), *range(len(content) - 1000, len(content))]
    for position in [*rng.integers(0, len(content), 300).tolist(), *ends]:
        changed = bytearray(content)
        changed[position] ^= 1 << int(rng.integers(0, 8))
        path.write_bytes(changed)
        refusal(path)


def write_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("thesis.txt", "a chapter")


@pytest.mark.parametrize(
    "write",
    [
        Path.touch,
        lambda path: path.write_text("weights = 1\n"),
        lambda path: path.write_bytes(b"PK\x03\x04 torn off"),
        write_zip,
        lambda path: np.savez(path, weights=np.zeros(3)),
        lambda path: np.savez(path, allow_pickle=True, x=np.array([print], object)),
    ],
    ids=["empty", "text", "torn", "zip", "npz", "pickle"],
)
def test_foreign_files(write: Callable[[Path], object], tmp_path: Path) -> None:
    path = tmp_path / "file.npz"
    write(path)
    assert "is not a checkpoint; give one that nomul" in refusal(path)


def test_imitation(tmp_path: Path) -> None:
    """The right first array does not make a checkpoint."""
    np.savez(tmp_path / "file.npz", nomul_checkpoint=1, weights=np.zeros(3))
    assert "is damaged" in refusal(tmp_path / "file.npz")


@pytest.mark.parametrize(("version", "mend"), [(2, "install a newer"), (0, "install an older")])
def test_other_formats(
    version: int, mend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.npz"
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "FORMAT", version)
        trained().save(path)
    message = refusal(path)
    assert f"has checkpoint format {version}, this nomul reads {FORMAT}; {mend}" in message


def test_unknown_parameter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of a version that has a parameter more."""
    path = tmp_path / "file.npz"
    text = PARAMETERS.to_toml() + "momentum = 3\n"
    with monkeypatch.context() as patch:
        patch.setattr(Parameters, "to_toml", lambda self: text)
        trained().save(path)
    assert "unknown parameter 'momentum'" in refusal(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Checkpoint.load(tmp_path / "none.npz")


def test_state_of_another_network() -> None:
    with pytest.raises(ValueError, match=r"state\.weights must be"):
        Checkpoint(PARAMETERS.replace(lanes=5), State.initial(PARAMETERS))
    with pytest.raises(ValueError, match="samples must be in"):
        Checkpoint(PARAMETERS, State.initial(PARAMETERS), -1)


def test_changed_parameters() -> None:
    saved = trained()
    assert saved.changes(PARAMETERS) == []
    other = PARAMETERS.replace(schedule=(5,), activation_shifts=(2, 2), connect="binary")
    assert saved.changes(other) == ["activation_shifts", "connect", "schedule"]
    # What the words of a state mean, though none of these but the first two changes its shape.
    others = {
        "layers": (15, 40, 7),
        "lanes": 2,
        "weight_bits": 9,
        "bias_bits": 25,
        "bias_fraction_bits": 7,
        "random_sources": 2,
        "random_width": 64,
    }
    assert set(others) == set(STATE_PARAMETERS)
    for name, value in others.items():
        with pytest.raises(
            CheckpointError, match=rf"^the checkpoint has {name} = .*, not .*; give"
        ):
            saved.changes(PARAMETERS.replace(**{name: value}))


@pytest.mark.parametrize("failure", [OSError, KeyboardInterrupt])
def test_old_content_stays(
    failure: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.npz"
    first, second = trained(), trained(samples=21)
    first.save(path)

    def fail(file: int) -> None:
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(failure):
            second.save(path)
    assert Checkpoint.load(path) == first
    assert list(tmp_path.iterdir()) == [path]
    # What a killed process left is no hindrance.
    path.with_name(".file.npz.unfinished").write_text("half")
    second.save(path)
    assert Checkpoint.load(path) == second
    assert list(tmp_path.iterdir()) == [path]
