"""The core behind somebody else's bus models ends where the golden model ends, pauses or not."""

import json
from pathlib import Path

import pytest
from amaranth.hdl import *

import hdl.core
import hdl.trainer
import hdl.verilog
from golden import Parameters
from golden.checkpoint import Checkpoint
from golden.network import Network
from golden.state import State
from hdl.axi_lite import AxiLite
from hdl.core import Core
from hdl.prediction_stream import PredictionStream
from hdl.random_source import RandomSource
from hdl.register_map import MEMORIES, Register
from hdl.sample_stream import SampleStream
from hdl.trainer import Trainer
from hdl.verilog import generate_core
from hdl.window import Window
from sim.simulators import SIMULATORS, SimulationFailed, compile_design, run_testbench
from tests.configurations import gateware_parameters, random_samples

HERE = Path(__file__).parent

#: Small, so that all state is loaded and dumped quickly; its lanes are no power of two, its layers
#: have padding, a random state takes two words, and it has input dropout.
PARAMETERS = Parameters(
    layers=(9, 4, 3),
    lanes=3,
    pixels_per_beat=4,
    activation_shifts=(3, 1),
    delta_shifts=(2,),
    update_shifts=(7, 8),
    draw_bits=5,
    random_sources=2,
    random_width=64,
    schedule=(1, 2),
    input_dropout_bits=2,
    inference="exact",
)


def run(
    simulator: str,
    folder: Path,
    tests: str,
    *,
    parameters: Parameters = PARAMETERS,
    **job: object,
) -> int:
    """Run tests of ``tb_core.py``, by a regular expression of their names.

    Args:
        simulator: One of ``sim.simulators.SIMULATORS``.
        folder: Where the simulation runs.
        tests: Which tests.
        parameters: Of the core.
        job: What the testbench is told besides.
    """
    generated = generate_core(parameters, State.initial(parameters))
    build = compile_design(
        simulator,
        generated.verilog,
        generated.top,
        public_memories=tuple(generated.memories.values()),
    )
    folder.mkdir(exist_ok=True)
    told = {"seed": 1, "pauses": 0.3, "parameters": parameters.to_toml()}
    (folder / "job.json").write_text(json.dumps(told | job), encoding="utf-8")
    return run_testbench(
        simulator,
        build,
        generated.top,
        "tb_core",
        folder=folder,
        environment={
            "COCOTB_TEST_FILTER": rf"\.({tests})$",
            "COCOTB_LOG_LEVEL": "WARNING",
            # cocotbext-axi still calls some things by the names that they had in cocotb 1.
            "PYTHONWARNINGS": "ignore::DeprecationWarning",
        },
        search=(HERE,),
        timeout=300,
    )


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_registers_and_window(simulator: str, tmp_path: Path) -> None:
    assert run(simulator, tmp_path, "registers|misaligned|window") == 3


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_trains_and_continues_after_a_power_cycle(simulator: str, tmp_path: Path) -> None:
    """With pauses and without, a run ends alike, and another core goes on from its dump."""
    for pauses in (0.0, 0.5):
        folder = tmp_path / str(pauses)
        assert run(simulator, folder, "training|limit", pauses=pauses) == 2
    checkpoint = str(tmp_path / "0.5" / "checkpoint.npz")
    assert run(simulator, tmp_path / "after", "continues", checkpoint=checkpoint) == 1


@pytest.mark.parametrize(("seed", "pixels"), [(5, 8), (9, 16)])
def test_random_configuration(seed: int, pixels: int, tmp_path: Path) -> None:
    parameters = gateware_parameters(seed)
    bits = min(8, parameters.activation_bits)
    parameters = parameters.replace(pixels_per_beat=pixels, activation_bits=bits)
    run("icarus", tmp_path, "training", parameters=parameters, seed=seed)


@pytest.mark.parametrize(("simulator", "trials"), [("verilator", 200), ("icarus", 20)])
def test_reset_at_random_clocks(simulator: str, trials: int, tmp_path: Path) -> None:
    parameters = PARAMETERS
    if simulator == "icarus":
        # Without dropout no random word is taken before the first step.
        parameters = parameters.replace(input_dropout_bits=0)
    run(simulator, tmp_path, "resets", parameters=parameters, trials=trials, pauses=0.1)


class LaxSlave(AxiLite):
    """Fields take any value."""

    def _misfit(self, register: Register) -> Value:
        return Const(0)


class LateRow(Window):
    """The trainer sees another row than the host."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        m.d.comb += self.host.row.eq(self.row ^ 1)
        return m


class LostUpdate(Window):
    """The states of UPDATE are not loaded."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        with m.If(self.memory == MEMORIES.index("UPDATE")):
            m.d.sync += self.host.store.eq(0)
        return m


class Hasty(Core):
    """A record does not wait until it is taken."""

    def _connect_records(self, m: Module, trainer: Trainer, records: PredictionStream) -> None:
        super()._connect_records(m, trainer, records)
        m.d.comb += records.tready.eq(1)


class FixedRate(Core):
    """The register of the learning rate does nothing."""

    def _connect_samples(self, m: Module, packets: SampleStream, *flags: Signal) -> Value:
        started = super()._connect_samples(m, packets, *flags)
        m.d.comb += packets.shift.eq(0)
        return started


class ForgivingTrainer(Trainer):
    """No reset is taken to cut a sample short."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        m.d.comb += self.cut.eq(0)
        return m


class SeededAgain(RandomSource):
    """A reset restarts the generators."""

    def __init__(self, width: int, initial: list[int], slots: int) -> None:
        super().__init__(width, initial, slots)
        self.register = Signal(self.register.shape(), init=initial)


@pytest.mark.parametrize(
    ("fault", "user", "test"),
    [
        (LaxSlave, hdl.core, "registers"),
        (LateRow, hdl.core, "window"),
        (LostUpdate, hdl.core, "continues"),
        (Hasty, hdl.verilog, "training"),
        (FixedRate, hdl.verilog, "training"),
        (ForgivingTrainer, hdl.core, "resets"),
        (SeededAgain, hdl.trainer, "resets"),
    ],
)
def test_fault_is_found(
    fault: type, user: object, test: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(user, fault.__mro__[1].__name__, fault)
    parameters = PARAMETERS.replace(input_dropout_bits=0)
    network = Network(parameters)
    network.train(*random_samples(parameters, 1, 8))
    checkpoint = tmp_path / "checkpoint.npz"
    Checkpoint(parameters, network.state, 8).save(checkpoint)
    with pytest.raises(SimulationFailed, match=rf"failed: tb_core\.{test}\n"):
        run("icarus", tmp_path, test, parameters=parameters, trials=20, checkpoint=str(checkpoint))
