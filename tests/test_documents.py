"""The documents say what the code says: pictures, links, parameters, probes."""

import dataclasses
import html
import re
from pathlib import Path

import pytest

from docs.figures import draw_timing, record_cosim
from golden.clocked import Clocked, transfers
from golden.network import Network
from golden.parameters import Parameters, named_configurations
from golden.probes import probe_columns, probe_table, tree_depth
from golden.state import State
from hdl.block_rams import block_rams
from hdl.register_map import RegisterMap
from sim.data import load_digits
from sim.training import default_epochs, exact_error, train

ROOT = Path(__file__).parent.parent
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]

#: No two counts of words are alike, so that a count tells which one it is.
DISTINCT = Parameters(
    layers=(30, 12, 9, 8, 5),
    lanes=16,
    pixels_per_beat=5,
    random_sources=6,
    input_dropout_bits=3,
    inference="exact",
    activation_shifts=(3, 5, 2, 2),
    delta_shifts=(3, 2, 2),
    update_shifts=(11, 9, 10, 10),
)


def table_rows(text: str) -> dict[str, list[str]]:
    """Return the cells behind the first one, of each table row that begins with a name in code."""
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", text, re.MULTILINE)
    return {name: [cell.strip() for cell in cells.split(" | ")] for name, cells in rows}


def anchors(text: str) -> set[str]:
    """Return the anchors of a document's headings."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings
    }


def broken_links(document: Path, text: str) -> list[str]:
    """Return the relative links of a document that lead nowhere."""
    targets = re.findall(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", text)
    broken = []
    for target in (link or image for link, image in targets):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        file = document.parent / path if path else document
        if not file.exists() or (
            anchor and anchor not in anchors(file.read_text(encoding="utf-8"))
        ):
            broken.append(target)
    return broken


def test_timing_is_what_the_model_does() -> None:
    assert draw_timing.FILE.read_text(encoding="utf-8") == draw_timing.draw()


def test_other_sample_is_another_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draw_timing, "PIXELS", (0, 9, 0, 12, 1, 5))
    assert draw_timing.FILE.read_text(encoding="utf-8") != draw_timing.draw()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links(document: Path) -> None:
    assert broken_links(document, document.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "link",
    ["[a](nowhere.md)", "[a](#no-such-heading)", '<img src="docs/none.svg">', "[a](LICENSE#no)"],
)
def test_broken_link_is_found(link: str) -> None:
    assert len(broken_links(ROOT / "README.md", f"# A heading\n{link} [b](LICENSE)")) == 1


def test_recorded_run_is_what_the_model_does() -> None:
    """Clocks, registers and test error in the picture of the main job, and in the README."""
    p = Parameters.named("digits")
    digits = load_digits(p.activation_bits)
    model = Clocked(p, State.initial(p))
    model.feed(transfers(p, digits.train_pixels, digits.train_labels, 1, 0))
    clocks, words = model.clocks_until_idle(), len(probe_columns(probe_table(p)))
    network = Network(p)
    epochs = default_epochs(p)
    for _ in train(network, digits, epochs):
        pass
    error = f"{exact_error(network, digits):.2f} %"

    recorded = re.sub(r"<[^>]*>", " ", record_cosim.FILE.read_text(encoding="utf-8"))
    recorded = " ".join(html.unescape(recorded).split())
    assert f"{clocks:,} == {clocks:,}" in recorded
    assert re.search(rf"registers compared on every clock │ │? ?{words} ", recorded)
    assert f"test error: {error}" in recorded
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"{clocks:,} clocks, {words} register words" in readme
    assert re.search(rf"\| `digits` \| [^|]* \| {epochs} \| {error} \|", readme)


def test_example_configuration() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert Parameters.from_toml(example).layers == (64, 48, 10)


def test_parameters() -> None:
    text = (ROOT / "docs" / "parameters.md").read_text(encoding="utf-8")
    fields = {field.name: field for field in dataclasses.fields(Parameters)}
    rows = table_rows(text)
    assert list(rows) == list(fields)
    for name, (_, default, _, _) in rows.items():
        if fields[name].default is dataclasses.MISSING:
            assert default == "required"
        else:
            value = fields[name].default
            value = list(value) if isinstance(value, tuple) else value
            assert default == (f'`"{value}"`' if isinstance(value, str) else f"`{value}`")
    (example,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert Parameters.from_toml(example) == Parameters.named("digits")
    for name in named_configurations():
        assert f"`{name}`" in text


def test_probes() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    p = DISTINCT
    counts = {
        1: "1",
        2: "2",
        p.lanes: "P",
        p.pixels_per_beat: "N",
        p.random_sources: "S",
        p.depth - 1: "L - 1",
    }
    assert len(counts) == 6
    tree = tree_depth(p.lanes)
    expected = {}
    for probe in probe_table(p):
        stage = "" if probe.stage is None else f"s{probe.stage}"
        if probe.unit == "backward":
            assert probe.stage is not None
            stage = f"s({probe.stage - tree}+T)"
        expected[probe.name] = [probe.unit, counts[probe.words], stage]
    # The tables of other sections have other first cells.
    rows = table_rows(text)
    assert rows == expected
    assert list(rows) == list(expected)


def test_block_rams() -> None:
    """Of every network in the table of candidates; what else they differ in takes no blocks."""
    text = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \d+F \| (\d+) \| ([\d-]+) \| (\d+) \| (\d+) \|", text, re.MULTILINE)
    assert len(rows) == 17
    for count, network, weight_bits, lanes in rows:
        layers = tuple(map(int, network.split("-")))
        depth = len(layers) - 1
        p = Parameters.named("ecp5-25f").replace(
            layers=layers,
            weight_bits=int(weight_bits),
            lanes=int(lanes),
            draw_bits=1,
            activation_shifts=(4,) * depth,
            delta_shifts=(3,) * (depth - 1),
            update_shifts=(12,) * depth,
        )
        assert sum(block_rams(p).values()) == int(count), network


def register_rows() -> list[str]:
    """Return the register table of docs/core.md."""
    rows = ["| offset | register | | bits | field | reset | |", "|---|---|---|---|---|---|---|"]
    for register in RegisterMap.of(Parameters.named("digits")):
        start = f"| `{register.offset:#05x}` | `{register.name}` | {register.access.value} "
        rows.append(f"{start}| | | | {register.description} |")
        for field in register.fields:
            high = field.low + field.bits - 1
            bits = str(field.low) if field.bits == 1 else f"{high}:{field.low}"
            values = ", ".join(f"{value} `{name}`" for name, value in field.values)
            text = f"{field.description} ({values})" if values else field.description
            rows.append(f"| | | | {bits} | `{field.name}` | {field.reset:#x} | {text} |")
    return rows


def test_registers() -> None:
    document = (ROOT / "docs" / "core.md").read_text(encoding="utf-8")
    assert "\n".join(register_rows()) in document
