"""``nomul formal``: every proof on small networks, and every proof shown to fail."""

import json
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from amaranth.hdl import *
from amaranth.lib.memory import Memory

import sim.commands.formal
from golden import Parameters
from hdl.accumulate import Accumulate, Select
from hdl.axi_lite import AxiLite
from hdl.backward import Backward
from hdl.connect import Connect
from hdl.drain import Drain
from hdl.formal.bench import Bench
from hdl.formal.proofs import NETWORKS, PROOFS
from hdl.gradient import BiasIncrement, HiddenDelta, UpdateStep
from hdl.lane import Lane
from hdl.loader import Loader
from hdl.loss import Loss
from hdl.prediction_stream import PredictionStream
from hdl.random_source import RandomSource
from hdl.relu import Relu
from hdl.sample_stream import SampleStream
from hdl.update import UpdateBias
from hdl.walker import Walker
from hdl.window import Window
from sim.cli import cli
from sim.commands.formal import FormalError
from sim.synthesis.formal import Outcome, StoppedError, prove
from sim.synthesis.tools import SynthesisError
from tests.faults import (
    DroppedPixel,
    FlooredExponent,
    ForgottenPass,
    MissingClip,
    MissingStall,
    UnsignedPlane,
    WrongMask,
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "formal.md"

#: A hidden layer whose lists wait for the scratch memory, padding lanes, dropout.
PARAMETERS = Parameters(
    layers=(5, 3, 3),
    lanes=2,
    pixels_per_beat=4,
    weight_bits=5,
    activation_bits=3,
    output_delta_bits=4,
    hidden_delta_bits=5,
    bias_bits=8,
    bias_fraction_bits=2,
    activation_shifts=(2, 2),
    delta_shifts=(2,),
    update_shifts=(5, 6),
    draw_bits=2,
    draw_steps=2,
    update_bits=3,
    random_sources=2,
    random_width=16,
    schedule=(1,),
    input_dropout_bits=2,
    inference="exact",
    margin_bits=2,
)
#: Seconds for a solver; some hundred times what it takes.
LIMIT = 300.0


def outcome_of(name: str, folder: Path, parameters: Parameters = PARAMETERS) -> Outcome:
    (proof,) = (proof for proof in PROOFS if proof.name == name)
    bench = proof.bench(parameters)
    return prove(bench, bench.rtlil(), proof.depth, folder, LIMIT, threading.Event())


@pytest.mark.parametrize("name", [proof.name for proof in PROOFS])
def test_proof(name: str, tmp_path: Path) -> None:
    outcome = outcome_of(name, tmp_path)
    assert outcome.failure is None
    assert outcome.waves is None


OTHER = PARAMETERS.replace(
    connect="binary",
    draw_steps=1,
    draw_bits=4,
    quantizer="stochastic",
    inference="drawn",
    input_dropout_bits=0,
    weight_bits=6,
)


@pytest.mark.parametrize("name", ["connect", "quantize", "accumulate", "gradient", "forward-sum"])
def test_other_rules(name: str, tmp_path: Path) -> None:
    assert outcome_of(name, tmp_path, OTHER).proved


class NoHalfStep(Connect):
    """The draw's random number lacks its half step."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        q, rb = PARAMETERS.draw_shift, PARAMETERS.draw_bits
        m.d.comb += self.draw.eq((self.weight + (self.random << (q - rb))) >> q)
        return m


class SignSlip(Accumulate):
    """A negative drawn weight adds."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        with m.If(self.draw == -1):
            m.d.comb += self.total.eq(self.base + self.value)
        return m


class NarrowSum(Accumulate):
    """The sum lacks its highest bit."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        total = self.base + self.draw * self.value
        m.d.comb += self.total.eq(total[: len(self.total) - 1].as_signed())
        return m


class CoarseBias(Lane):
    """In the rule exact, too, a bias has the fraction bits of a drawn weight only."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        bits = PARAMETERS.accumulator_fraction_bits - PARAMETERS.draw_fraction_bits
        base = m.submodules.accumulate.base
        with m.If(self.exact6 & self.first6):
            m.d.comb += base[:bits].eq(0)
        return m


class WrappedPlanes(Lane):
    """In the rule exact the sum lacks its highest bit."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        total = m.submodules.accumulate.total
        with m.If(self.accumulate6 & self.exact6):
            m.d.sync += self.accumulator.eq(total[:-1].as_signed())
        return m


class OnesComplement(Select):
    """A negative product is one too small."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.select = select = Select(len(self.x), len(self.draw) - 2)
        late = Signal()
        m.d.sync += late.eq(self.draw == -2)
        m.d.comb += [
            select.draw.eq(self.draw),
            select.x.eq(self.x),
            self.term.eq(select.term),
            self.carry.eq(select.carry & ~late),
        ]
        return m


class UnsaturatedActivation(Relu):
    """A large activation wraps."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        shift = PARAMETERS.activation_shifts[0] + PARAMETERS.accumulator_fraction_bits
        rounded, late = Signal(32), Signal()
        positive = Mux(self.total > 0, self.total, 0)
        m.d.sync += [rounded.eq((positive + (1 << shift) - 1) >> shift), late.eq(self.valid)]
        with m.If(late):
            m.d.sync += self.activation.eq(rounded)
        return m


class FlooredHiddenDelta(HiddenDelta):
    """The backward shift does not round."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        n = PARAMETERS.delta_shifts[0] + PARAMETERS.draw_fraction_bits
        with m.If((self.partial >> n) == 0):
            m.d.comb += self.hidden_delta.eq(0)
        return m


class UnroundedIncrement(UpdateStep):
    """The largest random number does not carry."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        with m.If(self.random[0].all()):
            m.d.comb += self.rounding[0].eq(0)
        return m


class UnroundedBias(BiasIncrement):
    """The increment of a bias does not round."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        with m.If(self.rate_shift == PARAMETERS.max_rate_shift):
            m.d.comb += self.increment.eq(self.delta >> self.rate_shift >> PARAMETERS.bias_shift)
        return m


class AsymmetricClip(UpdateBias):
    """A bias may be the lowest number."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        with m.If(self.bias + self.increment < -PARAMETERS.bias_max):
            m.d.comb += self.new_bias.eq(-PARAMETERS.bias_max - 1)
        return m


class LaterWeight(Lane):
    """The increment is added to the weight of the step behind."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        late = Signal.like(self.weight)
        m.d.sync += late.eq(self.weight)
        m.d.comb += m.submodules.update_weight.weight.eq(late)
        return m


class NarrowPartial(Backward):
    """A partial sum lacks its highest bit."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        with m.If(self.partial[-1] ^ self.partial[-2]):
            m.d.sync += self.partial.eq(0)
        return m


class ForgottenBlocks(Backward):
    """What the blocks before have summed is left out."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        m.d.sync += self.partial.eq(self.tree[-1][0])
        return m


class ClearedBit(RandomSource):
    """A step clears a bit."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        with m.If(self.step & ~self.replace.any()):
            m.d.sync += self.register[0][7].eq(0)
        return m


class LostSave(RandomSource):
    """A state is not saved while the source is stepped."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        with m.If(self.recall & self.step):
            m.d.comb += self.word.eq(self.register)
        return m


class ImpatientAnswer(AxiLite):
    """What was read is there for one clock only."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        with m.If(self.rvalid):
            m.d.sync += self.rdata.eq(0)
        return m


class UnaskedAnswer(AxiLite):
    """A write is answered as a read, too."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        with m.If(self.bvalid):
            m.d.comb += self.rvalid.eq(1)
        return m


class AlwaysReady(SampleStream):
    """A beat is taken while another waits."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        m.d.comb += self.tready.eq(1)
        return m


class EarlyEnd(SampleStream):
    """A dense word with the last pixel ends a sample only with TLAST."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        with m.If(~self.sparse):
            m.d.comb += self.samples.payload.last.eq(self.last)
        return m


class HastyRecord(PredictionStream):
    """A record goes on without being taken."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        with m.If(self.tvalid):
            m.d.sync += self.position.eq(self.position + 1)
        return m


class OverrunLoader(Loader):
    """A word is taken before the one in hand is listed."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        m.d.comb += self.samples.ready.eq(self.begun | (self.opened == 0))
        return m


class ForgottenDrain(Walker):
    """A block ends while the block before it still drains."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        m.d.comb += self.step.end.eq(~self.unread & self.closed)
        return m


class LastOfTies(Loss):
    """Of equal sums the last one wins."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        with m.If(self.summed & (self.logit_sum >= self.best_sum)):
            m.d.sync += self.best_index.eq(self.summed_index)
        return m


class LostLane(Drain):
    """A live lane is not drained."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        with m.If(self.load):
            m.d.sync += self.mask[-1].eq(0)
        return m


class KeptLanes(Window):
    """Lanes that may be lost count as written."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        with m.If(self.forget):
            m.d.sync += self.expected.eq(self.expected)
        return m


class UncheckedWord(Window):
    """Any word is written."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        m.d.sync += self.misfit.eq(0)
        return m


FAULTS = [
    # proof, where its bench or unit takes the unit from, fault
    ("connect", "hdl.formal.connect.Connect", NoHalfStep),
    ("booth", "hdl.formal.booth.Booth", UnsignedPlane),
    ("accumulate", "hdl.formal.accumulate.Accumulate", SignSlip),
    ("select", "hdl.formal.accumulate.Select", OnesComplement),
    ("relu", "hdl.formal.rounding.Relu", UnsaturatedActivation),
    ("hidden-delta", "hdl.formal.rounding.HiddenDelta", FlooredHiddenDelta),
    ("quantize", "hdl.formal.quantize.Quantize", FlooredExponent),
    ("gradient", "hdl.formal.gradient.UpdateStep", UnroundedIncrement),
    ("bias-increment", "hdl.formal.gradient.BiasIncrement", UnroundedBias),
    ("update-weight", "hdl.formal.rounding.UpdateWeight", MissingClip),
    ("update-bias", "hdl.formal.rounding.UpdateBias", AsymmetricClip),
    ("write-back", "hdl.lane.UpdateWeight", MissingClip),
    ("write-back", "hdl.formal.lane.Lane", LaterWeight),
    ("forward-sum", "hdl.lane.Accumulate", NarrowSum),
    ("forward-sum", "hdl.formal.lane.Lane", CoarseBias),
    ("forward-sum", "hdl.formal.lane.Lane", WrappedPlanes),
    ("forward-sum", "hdl.lane.Booth", UnsignedPlane),
    ("backward-sum", "hdl.formal.backward.Backward", NarrowPartial),
    ("backward-sum", "hdl.formal.backward.Backward", ForgottenBlocks),
    ("random-source", "hdl.formal.random_source.RandomSource", ClearedBit),
    ("random-source", "hdl.formal.random_source.RandomSource", LostSave),
    ("axi-lite", "hdl.formal.axi_lite.AxiLite", ImpatientAnswer),
    ("axi-lite", "hdl.formal.axi_lite.AxiLite", UnaskedAnswer),
    ("sample-stream", "hdl.formal.sample_stream.SampleStream", AlwaysReady),
    ("sample-stream", "hdl.formal.sample_stream.SampleStream", EarlyEnd),
    ("prediction-stream", "hdl.formal.prediction_stream.PredictionStream", HastyRecord),
    ("loader", "hdl.formal.loader.Loader", DroppedPixel),
    ("loader", "hdl.formal.loader.Loader", OverrunLoader),
    ("walker", "hdl.formal.walker.Walker", MissingStall),
    ("walker", "hdl.formal.walker.Walker", ForgottenDrain),
    ("loss", "hdl.formal.loss.Loss", LastOfTies),
    ("loss", "hdl.formal.loss.Loss", ForgottenPass),
    ("drain", "hdl.formal.drain.Drain", LostLane),
    ("drain", "hdl.formal.drain.Drain", WrongMask),
    ("window", "hdl.formal.window.Window", KeptLanes),
    ("window", "hdl.formal.window.Window", UncheckedWord),
]


@pytest.mark.parametrize(
    ("name", "place", "fault"),
    FAULTS,
    ids=[f"{name}-{fault.__name__}" for name, _, fault in FAULTS],
)
def test_planted_fault(
    name: str,
    place: str,
    fault: type,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(place, fault)
    outcome = outcome_of(name, tmp_path)
    assert outcome.failure is not None
    assert re.search(
        r"(fails|does not follow by induction) \(\w+/formal/\w+.py:\d+\)$", outcome.failure
    )
    assert not outcome.failure.startswith("a claim")
    assert outcome.waves is not None
    assert "$enddefinitions" in outcome.waves.read_text()


def test_every_proof_has_a_fault() -> None:
    assert {name for name, _, _ in FAULTS} == {proof.name for proof in PROOFS}


def run(bench: Bench, folder: Path, depth: int = 1, limit: float = LIMIT) -> Outcome:
    return prove(bench, bench.rtlil(), depth, folder, limit, threading.Event())


def test_contradiction_is_found(tmp_path: Path) -> None:
    bench = Bench()
    a = bench.free(4, "a")
    bench.assume(a > 3)
    bench.assume(a < 3)
    bench.prove(a == 0, "anything")
    failure = run(bench, tmp_path, 0).failure
    assert failure == "the assumptions contradict each other: nothing is proved"


@pytest.mark.parametrize("reset_less", [False, True])
def test_contradiction_is_found_later(reset_less: bool, tmp_path: Path) -> None:
    """Assumptions that no run of a few clocks can meet are found, whatever the induction's length.

    A reset, with which a counter begins anew, does not hide it.
    """
    bench = Bench()
    count = Signal(8, reset_less=reset_less)
    bench.module.d.sync += count.eq(count + 1)
    bench.assume(count < 3)
    bench.prove(count < 3, "it does not count to 3")
    failure = run(bench, tmp_path, 1).failure
    assert failure == "the assumptions contradict each other within 20 clocks: nothing is proved"


def counter() -> Bench:
    bench = Bench()
    count = Signal(8)
    bench.module.d.sync += count.eq(count + 1)
    bench.prove(count == 0, "it does not count")
    return bench


def memory() -> Bench:
    bench = Bench()
    m = bench.module
    m.submodules.memory = words = Memory(shape=4, depth=8, init=[])
    write, read = words.write_port(), words.read_port(domain="comb")
    for name, signal in (("en", write.en), ("at", write.addr), ("to", write.data)):
        m.d.comb += signal.eq(bench.free(signal.shape(), name))
    m.d.comb += read.addr.eq(bench.free(read.addr.shape(), "from"))
    bench.prove(read.data == 0, "it is empty")
    return bench


@pytest.mark.parametrize("bench", [counter, memory])
def test_state_without_induction(bench: Callable[[], Bench], tmp_path: Path) -> None:
    failure = run(bench(), tmp_path, 0).failure
    assert failure == "it has registers or memories: without induction nothing is proved"


def test_reachable_later_only(tmp_path: Path) -> None:
    """A fault that no run of so few clocks shows does not slip through the induction."""
    bench = Bench()
    count = Signal(8)
    bench.module.d.sync += count.eq(count + 1)
    bench.prove(count != 100, "it never counts to 100")
    failure = run(bench, tmp_path, 3).failure
    assert failure is not None
    assert failure.startswith("it never counts to 100: does not follow by induction (")


def hard() -> Bench:
    """Factors of a product of two primes."""
    bench = Bench()
    a, b = bench.free(40, "a"), bench.free(40, "b")
    bench.assume((a > 1) & (b > 1))
    bench.prove(a * b != 549755813881 * 549755813869, "it has no factors")
    return bench


def test_time_is_up(tmp_path: Path) -> None:
    outcome = run(hard(), tmp_path, 0, limit=2.0)
    assert outcome.failure == "base: no answer in 2 seconds"


def test_stop(tmp_path: Path) -> None:
    stop = threading.Event()
    threading.Timer(2.0, stop.set).start()
    bench = hard()
    with pytest.raises(StoppedError):
        prove(bench, bench.rtlil(), 0, tmp_path, LIMIT, stop)


def test_missing_solver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    with pytest.raises(SynthesisError, match=r"z3 is missing: pip install 'nomul\[synth\]'"):
        sim.commands.formal.formal(NETWORKS, tmp_path / "out", only=(), jobs=1, limit=1)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    for name in ("one", "two"):
        Path(f"{name}.toml").write_text(PARAMETERS.to_toml())


def command(*arguments: str) -> None:
    cli.main(["formal", *arguments], standalone_mode=False)


@pytest.mark.usefixtures("_in_folder")
def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Networks with the same bench share a proof; what does not hold ends in a waveform."""
    arguments = ("--only", "connect", "--only", "quantize", "--jobs", "2")
    command("--config", "one.toml", "--config", "two.toml", *arguments)
    assert "proved" in capsys.readouterr().out
    report = json.loads(Path("nomul-out/formal/formal.json").read_text())
    assert [(each["proof"], each["networks"], each["proved"]) for each in report["results"]] == [
        ("connect", ["one", "two"], True),
        ("quantize", ["one", "two"], True),
    ]
    assert report["networks"]["one"] == PARAMETERS.to_dict()
    # What the page of all proofs says of its networks is not said of others.
    assert "digits" not in Path("nomul-out/formal/formal.md").read_text()
    assert sorted(path.name for path in Path("nomul-out/formal").iterdir()) == [
        ".nomul",
        "formal.json",
        "formal.md",
    ]


@pytest.mark.usefixtures("_in_folder")
def test_command_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hdl.formal.quantize.Quantize", FlooredExponent)
    with pytest.raises(FormalError, match=r"^quantize, one: 2\*\*e is .* fails .*\.vcd$"):
        command("--config", "one.toml", "--only", "quantize")
    assert Path("nomul-out/formal/quantize-one.vcd").is_file()
    assert not json.loads(Path("nomul-out/formal/formal.json").read_text())["results"][0]["proved"]


@pytest.mark.usefixtures("_in_folder")
def test_names_with_spaces() -> None:
    """Benches that differ are proved apart, whatever their networks are called."""
    Path("my a.toml").write_text(PARAMETERS.to_toml())
    Path("my b.toml").write_text(OTHER.to_toml())
    command("--config", "my a.toml", "--config", "my b.toml", "--only", "connect", "--jobs", "2")
    report = json.loads(Path("nomul-out/formal/formal.json").read_text())
    assert [each["networks"] for each in report["results"]] == [["my a"], ["my b"]]


@pytest.mark.usefixtures("_in_folder")
def test_nothing_to_prove() -> None:
    Path("other.toml").write_text(OTHER.to_toml())
    with pytest.raises(FormalError, match=r"^nothing to prove: no unit of booth is in other$"):
        command("--config", "other.toml", "--only", "booth")
    assert not Path("nomul-out").exists()


@pytest.mark.usefixtures("_in_folder")
def test_wrong_use() -> None:
    with pytest.raises(Exception, match=r"no proof 'conect'; there are connect, booth"):
        command("--only", "conect")
    with pytest.raises(Exception, match="two of the configurations have the same name"):
        command("--config", "one.toml", "--config", "./one.toml")


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    command("--list")
    listed = capsys.readouterr().out
    assert all(proof.name in listed for proof in PROOFS)


def test_document() -> None:
    """The document has every proof as it is claimed now, proved for each network that has it."""
    text = DOCUMENT.read_text(encoding="utf-8")
    for proof in PROOFS:
        row = f"| `{proof.name}` | {proof.claim} | {proof.assumed} | {proof.source} |"
        assert row in text.splitlines()
        results = re.findall(
            rf"^\| `{proof.name}` \| (.*) \| (.*) \| (.*) \| [\d.]+ \|$", text, re.M
        )
        assert {(method, result) for _, method, result in results} == {(proof.method, "proved")}
        networks = {
            name.partition(" at ")[0] for names, _, _ in results for name in names.split(", ")
        }
        assert networks == {name for name, p in NETWORKS.items() if proof.applies(p)}
