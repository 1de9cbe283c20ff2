"""Output folders are complete or not there, and never replace what is not theirs."""

from pathlib import Path

import pytest

from sim.output import output_folder


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
