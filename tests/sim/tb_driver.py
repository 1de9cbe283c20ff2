"""The generated Python driver, on the core in simulation, with the bus models of cocotbext-axi."""

import importlib.util
import logging
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.task import bridge, resume
from cocotb.triggers import ClockCycles
from cocotbext.axi import (
    AxiLiteBus,
    AxiLiteMaster,
    AxiResp,
    AxiStreamBus,
    AxiStreamFrame,
    AxiStreamSink,
    AxiStreamSource,
)

from golden.network import Network
from golden.parameters import Parameters
from golden.state import State
from tests.configurations import random_samples


def load_driver() -> Any:
    """Import ``nomul_core.py`` of the present folder."""
    spec = importlib.util.spec_from_file_location("nomul_core", "nomul_core.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check_state(core: Any, state: State) -> None:
    """Compare weights, biases and random states of the stopped core with the golden model's."""
    assert core.dump("WEIGHTS") == state.weights.tolist()
    assert core.dump("BIASES") == state.biases.tolist()
    for name in ("draw", "update"):
        words = [
            sum(word << 32 * i for i, word in enumerate(row)) for row in core.dump(name.upper())
        ]
        assert words == getattr(state, name).tolist()


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def driver(dut: Any) -> None:
    """Identify, load, train, evaluate, count and dump, all by the driver."""
    module = load_driver()
    parameters = Parameters.from_toml(Path("config.toml").read_text(encoding="utf-8"))
    dut.aresetn.value = 0
    Clock(dut.aclk, 2, "ns").start()
    reset = {"reset": dut.aresetn, "reset_active_level": False}
    bus = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.aclk, **reset)
    source = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis"), dut.aclk, **reset)
    sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis"), dut.aclk, **reset)
    for model in (bus.write_if, bus.read_if, source, sink):
        model.log.setLevel(logging.WARNING)
    await ClockCycles(dut.aclk, 4)
    dut.aresetn.value = 1

    @resume
    async def read32(offset: int) -> int:
        answer = await bus.read(offset, 4)
        if answer.resp != AxiResp.OKAY:
            raise OSError(f"read of {offset:#x} refused")
        return int.from_bytes(answer.data, "little")

    @resume
    async def write32(offset: int, value: int) -> None:
        answer = await bus.write(offset, value.to_bytes(4, "little"))
        if answer.resp != AxiResp.OKAY:
            raise OSError(f"write of {offset:#x} refused")

    @resume
    async def send(packet: bytes) -> None:
        await source.send(AxiStreamFrame(packet))

    @resume
    async def receive() -> bytes:
        return bytes((await sink.recv()).tdata)

    @bridge
    def use() -> None:
        core = module.NomulCore(read32, write32, send, receive)
        core.check_identity()
        state = State.initial(parameters)
        state.weights = np.roll(state.weights, 3, axis=0)
        # Padding stays 0: the rolled rows are of layers without padding.
        core.load("WEIGHTS", state.weights.tolist())
        network = Network(parameters, state)
        pixels, labels = random_samples(parameters, 3, 8)
        core.start(train=True, rate_shift=1)
        # Blank but for a few pixels: a sparse packet is shorter.
        pixels[3, 5:] = 0
        trained = [record.prediction for record in core.run(labels[:6], pixels[:6])]
        assert trained == network.train(pixels[:6], labels[:6], 1).predictions.tolist()
        core.stop()
        check_state(core, network.state)
        core.start(train=False, samples=2, draws=3, logits=True)
        records = core.run(labels[6:], pixels[6:])
        evaluated = [record.prediction for record in records]
        assert evaluated == network.infer(pixels[6:], "sampled", 3).tolist()
        assert evaluated == [int(np.argmax(record.logits)) for record in records]
        assert [record.label for record in records] == labels[6:].tolist()
        assert [record.correct for record in records] == (evaluated == labels[6:]).tolist()
        assert [record.trained for record in records] == [False, False]
        assert [record.number for record in records] == [6, 7]
        core.stop()
        check_state(core, network.state)
        core.start(train=False, rule="THRESHOLDED")
        (record,) = core.run(labels[:1], pixels[:1])
        assert record.prediction == network.infer(pixels[:1], "thresholded")[0]
        assert record.logits == []
        core.stop()
        counts = core.counters(clear=True)
        assert counts.pop("clocks") > 0
        predicted = [*trained, *evaluated, record.prediction]
        wrong = sum(a != b for a, b in zip(predicted, [*labels, labels[0]], strict=True))
        assert counts["samples"] == 9
        assert counts["errors"] == wrong
        assert core.counters()["samples"] == 0
        for misuse in (
            lambda: core.write("RATE", SHIFT=16),
            lambda: core.load("BIASES", [[0]]),
            lambda: module.packet(0, [1]),
        ):
            try:
                misuse()
            except ValueError:
                continue
            raise AssertionError("a slip was not told")
        try:
            core.write("WINDOW_MEMORY", 7)
        except OSError:
            assert core.read("REFUSED", "VALUE") == 1
        else:
            raise AssertionError("a refused write was not told")

    await use()
