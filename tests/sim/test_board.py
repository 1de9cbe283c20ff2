"""The board in simulation: the host's own code on its pins, and the lockstep on every clock."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import *

import hdl.board.link
from golden import Parameters
from golden.checkpoint import Checkpoint
from golden.inference import RULES
from golden.network import Network
from golden.state import State
from hdl.board.frames import FrameReceiver
from hdl.board.ulx3s import generate_board
from hdl.uart import UartReceiver
from sim.data import load_digits
from sim.export.project import python_driver
from sim.lockstep import Checker, Stimulus
from sim.simulators import SimulationFailed, compile_design, run_testbench
from tests.configurations import random_samples

HERE = Path(__file__).parent

#: Clocks of a bit: as few as a receiver can do with, so that bytes take few clocks.
DIVISOR = 4

#: Small, so that all state is loaded and dumped quickly; with dropout and two words a state.
SMALL = Parameters(
    layers=(6, 3, 2),
    lanes=3,
    pixels_per_beat=8,
    activation_shifts=(3, 1),
    delta_shifts=(2,),
    update_shifts=(7, 8),
    draw_bits=5,
    random_width=64,
    schedule=(1, 2),
    input_dropout_bits=2,
    inference="exact",
)


#: The UCI digits on a net that is loaded and dumped in a second.
DIGITS = Parameters.named("digits").replace(layers=(64, 8, 10), lanes=8)


def run(
    simulator: str,
    folder: Path,
    tests: str,
    *,
    parameters: Parameters = SMALL,
    pipe: int | None = None,
    **job: object,
) -> int:
    """Run tests of ``tb_board.py``, by a regular expression of their names."""
    board = generate_board(parameters, State.initial(parameters), DIVISOR, probed=True)
    inside = ("trainer.samples__valid", "trainer.predictions__ready", "trainer.weights", "aresetn")
    public = [f"core.{name}" for name in inside]
    build = compile_design(simulator, board.verilog, board.top, public_memories=public)
    folder.mkdir(exist_ok=True)
    driver = folder / "nomul_core.py"
    driver.write_text(python_driver(parameters), encoding="utf-8")
    (folder / "config.toml").write_text(parameters.to_toml(), encoding="utf-8")
    told = {"parameters": parameters.to_toml(), "driver": str(driver), "divisor": DIVISOR}
    told |= {"seed": 1, "pipe": pipe}
    (folder / "job.json").write_text(json.dumps(told | job), encoding="utf-8")
    return run_testbench(
        simulator,
        build,
        board.top,
        "tb_board",
        folder=folder,
        environment={
            "COCOTB_TEST_FILTER": rf"\.({tests})$",
            "COCOTB_LOG_LEVEL": "WARNING",
            "COCOTB_REWRITE_ASSERTION_FILES": "tb_board.py",
        },
        search=(HERE,),
        timeout=300,
        pass_fds=() if pipe is None else (pipe,),
    )


def check_lockstep(
    simulator: str,
    folder: Path,
    parameters: Parameters,
    trained: int,
    evaluated: int,
    *,
    digits: bool = False,
) -> None:
    """Train and evaluate over the pins; compare every clock of the trainer, and all state."""
    p, rule, draws, seed = parameters, "sampled", 3, 1
    if digits:
        data = load_digits(p.activation_bits)
        pixels, labels = data.train_pixels, data.train_labels
    else:
        pixels, labels = random_samples(p, seed, trained + evaluated)
    pixels, labels = pixels[: trained + evaluated], labels[: trained + evaluated]
    train = np.arange(trained + evaluated) < trained
    stimulus = Stimulus(
        pixels=pixels,
        labels=labels,
        train=train,
        rate_shift=train.astype(np.int64),
        epoch=np.zeros(len(labels), np.int64),
        rule=RULES.index(rule),
        draws=draws,
        # The driver sends what is shorter.
        sparse=4 * np.count_nonzero(pixels, axis=1) < p.layers[0],
    )
    state = State.initial(p)
    rng = np.random.default_rng(seed)
    state.weights[:] = state.weights[rng.permutation(len(state.weights))]
    reading, writing = os.pipe()
    checker = Checker(
        p, state, stimulus, stimulus.stream(p), reading, stalls=0.5, replay="", folder=folder
    )
    checker.start()
    job = {"trained": trained, "evaluated": evaluated, "draws": draws, "digits": digits}
    job["rule"] = RULES.index(rule)
    try:
        run(simulator, folder, "trains", parameters=p, pipe=writing, seed=seed, **job)
    finally:
        os.close(writing)
    clocks, _, predictions, _ = checker.result()
    assert len(predictions) == trained + evaluated
    assert checker.samples == trained + evaluated
    assert checker.comparisons > 50 * clocks > 0


def test_lockstep_on_icarus(tmp_path: Path) -> None:
    check_lockstep("icarus", tmp_path, SMALL, 3, 1)


def test_lockstep_of_digits(tmp_path: Path) -> None:
    check_lockstep("verilator", tmp_path, DIGITS, 5, 3, digits=True)


def test_faults_of_the_line(tmp_path: Path) -> None:
    """Each is told in one line; nothing is done behind it; a new start goes on."""
    kinds = ["flipped"] * 3 + ["lost"] * 3 + ["unstopped", "missing"]
    tests = "damage|restarts|refusals"
    assert run("verilator", tmp_path, tests, parameters=DIGITS, kinds=kinds, overflow=5000) == 3


class BlindToStop(UartReceiver):
    """The stop bit may be missing."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        m.d.comb += self.error.eq(0)
        return m


class BlindToCrc(FrameReceiver):
    """Any CRC is right."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        m.d.comb += self.match.eq(1)
        return m


class BlindToOrder(FrameReceiver):
    """A request may be missing."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        m.d.comb += self.next.eq(1)
        return m


@pytest.mark.parametrize(
    ("fault", "kind"),
    [(BlindToStop, "unstopped"), (BlindToCrc, "flipped"), (BlindToOrder, "missing")],
)
def test_fault_is_found(
    fault: type, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hdl.board.link, fault.__mro__[1].__name__, fault)
    with pytest.raises(SimulationFailed, match=r"failed: tb_board\.damage\n"):
        run("icarus", tmp_path, "damage", kinds=[kind])


def test_command(tmp_path: Path) -> None:
    """What it writes is where the golden model is; a difference is told, and nothing written."""
    assert run("verilator", tmp_path, "command", parameters=DIGITS) == 1
    checkpoint = Checkpoint.load(tmp_path / "out" / "checkpoint.npz")
    digits = load_digits(DIGITS.activation_bits)
    network = Network(DIGITS)
    network.train(digits.train_pixels[:6], digits.train_labels[:6])
    assert checkpoint.parameters == DIGITS
    assert checkpoint.samples == 6
    assert checkpoint.state == network.state
    report = json.loads((tmp_path / "out" / "board.json").read_text(encoding="utf-8"))
    assert report["training"]["samples"] == 6
    assert report["evaluation"]["samples"] == 3
    assert report["state_sha256"] == network.state.digest()
