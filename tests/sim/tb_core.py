"""The cocotb testbench of the core, with the bus models of cocotbext-axi.

A run is told by ``job.json`` in the folder that it runs in; what it trains must end where the
functional golden model ends.
"""

import json
import logging
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import (
    AxiLiteBus,
    AxiLiteMaster,
    AxiResp,
    AxiStreamBus,
    AxiStreamFrame,
    AxiStreamSink,
    AxiStreamSource,
)

from golden.checkpoint import Checkpoint
from golden.inference import RULES, Rule
from golden.layout import Layout
from golden.network import Network
from golden.parameters import Parameters
from golden.state import State
from hdl.register_map import ADDRESS_BITS, Access, RegisterMap
from sim.packets import Records, dense_packets, read_records, sparse_packets
from tests.configurations import random_samples


def job() -> dict[str, Any]:
    """Return what the run is told."""
    return json.loads(Path("job.json").read_text(encoding="utf-8"))


def parameters() -> Parameters:
    """Return the parameters of the core."""
    return Parameters.from_toml(job()["parameters"])


START, STOP, ACCEPT, RESET = 1, 2, 3, 4

#: Clocks that a sample of these small networks, or its pauses, never takes.
PATIENCE = 20_000


def chances(seed: int, probability: float) -> Iterator[bool]:
    """Yield True with a probability, for ever."""
    generator = random.Random(seed)
    while True:
        yield generator.random() < probability


class Host:
    """A processor beside the core: registers, packets, records.

    Attributes:
        dut: The core.
        parameters: Of the core.
        map: Its registers.
        random: Chances of the test.
    """

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        self.job = job()
        self.parameters = parameters()
        seed, pauses = self.job["seed"], self.job["pauses"]
        self.map = RegisterMap.of(self.parameters)
        self.random = random.Random(seed)
        self.pixels, self.labels = random_samples(self.parameters, seed, 64)
        dut.aresetn.value = 0
        Clock(dut.aclk, 2, "ns").start()
        reset = {"reset": dut.aresetn, "reset_active_level": False}
        self.bus = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.aclk, **reset)
        stream = AxiStreamBus.from_prefix
        self.source = AxiStreamSource(stream(dut, "s_axis"), dut.aclk, **reset)
        self.sink = AxiStreamSink(stream(dut, "m_axis"), dut.aclk, **reset)
        models = (self.bus.write_if, self.bus.read_if, self.source, self.sink)
        channels = [
            getattr(model, name)
            for model in models[:2]
            for name in ("aw_channel", "w_channel", "b_channel", "ar_channel", "r_channel")
            if hasattr(model, name)
        ]
        for number, channel in enumerate((*channels, *models[2:])):
            if pauses:
                channel.set_pause_generator(chances(1000 * seed + number, pauses))
        for model in (*models, *channels):
            model.log.setLevel(logging.ERROR)

    async def reset(self, clocks: int = 4) -> None:
        self.dut.aresetn.value = 0
        await ClockCycles(self.dut.aclk, clocks)
        # Packets that were on their way, and records, belong to before.
        self.source.clear()
        self.sink.clear()
        self.dut.aresetn.value = 1
        await RisingEdge(self.dut.aclk)

    async def read_at(self, offset: int) -> tuple[int, AxiResp]:
        answer = await self.bus.read(offset, 4)
        return int.from_bytes(answer.data, "little"), answer.resp

    async def write_at(self, offset: int, value: int, size: int = 4) -> AxiResp:
        return (
            await self.bus.write(offset, (value & 0xFFFFFFFF).to_bytes(4, "little")[:size])
        ).resp

    async def read(self, name: str) -> int:
        value, response = await self.read_at(self.map[name].offset)
        assert response == AxiResp.OKAY, name
        return value

    async def write(self, name: str, value: int) -> None:
        response = await self.write_at(self.map[name].offset, value)
        assert response == AxiResp.OKAY, (name, value)

    async def check_refused(self, response: AxiResp, *reasons: str) -> None:
        """Check that an access was refused for that, and clear the flags."""
        assert response == AxiResp.SLVERR, reasons
        flags = await self.read("REFUSED")
        fields = self.map["REFUSED"].fields
        assert [each.name for each in fields if flags & each.mask] == list(reasons)
        await self.write("REFUSED", flags)

    async def status(self, flag: str) -> bool:
        return bool(await self.read("STATUS") & self.map["STATUS"].field(flag).mask)

    async def stopped(self) -> None:
        """Wait until the core is stopped."""
        for _ in range(PATIENCE // 10):
            if await self.status("STOPPED"):
                return
        raise TimeoutError("the core does not stop")

    def packet(self, sample: int) -> AxiStreamFrame:
        """Return a sample as a packet, every other one sparse."""
        part = slice(number := sample % len(self.labels), number + 1)
        form = sparse_packets if sample % 2 else dense_packets
        words = form(self.pixels[part], self.labels[part], self.parameters.bus_bits)[0]
        return AxiStreamFrame(words.tobytes())

    async def records(self, count: int, logits: int = 0) -> Records:
        """Return the next records."""
        content = b""
        for _ in range(count):
            await cocotb.triggers.with_timeout(self.sink.wait(), 2 * PATIENCE, "ns")
            content += bytes(self.sink.recv_nowait().tdata)
        return read_records(content, self.parameters.bus_bits, logits)

    async def run(
        self,
        network: Network,
        samples: range,
        *,
        train: bool,
        shift: int = 0,
        rule: Rule = "sampled",
        draws: int = 1,
    ) -> int:
        """Run samples through the core and the golden model; return wrong predictions.

        Evaluation samples come back with their logits.
        """
        mode = {
            "TRAIN": int(train),
            "LOGITS": int(not train),
            "RULE": RULES.index(rule),
            "DRAWS": draws - 1,
        }
        fields = self.map["MODE"]
        await self.write("MODE", sum(v << fields.field(name).low for name, v in mode.items()))
        await self.write("RATE", shift)
        await self.write("COMMAND", START)
        for sample in samples:
            self.source.send_nowait(self.packet(sample))
        logits = 0 if train else self.parameters.layers[-1]
        records = await self.records(len(samples), logits)
        await self.write("COMMAND", STOP)
        await self.stopped()
        each = [sample % len(self.labels) for sample in samples]
        pixels, labels = self.pixels[each], self.labels[each]
        if train:
            predictions = network.train(pixels, labels, shift).predictions
        else:
            predictions = network.infer(pixels, rule, draws)
            assert (records.logits.argmax(axis=1) == predictions).all()
        assert (records.prediction == predictions).all()
        assert (records.label == labels).all()
        assert (records.correct == (predictions == labels)).all()
        assert (records.train == train).all()
        return int((predictions != labels).sum())

    async def load(self, state: State) -> None:
        """Write all state through the window."""
        for memory in self.map.memories:
            await self.write("WINDOW_MEMORY", memory.number)
            await self.write("WINDOW_ROW", 0)
            await self.write("WINDOW_LANE", 0)
            array = getattr(state, memory.name.lower())
            for row in range(memory.rows):
                for lane in range(memory.lanes):
                    # A random state has its lowest 32 bits in the first word.
                    word = array[row, lane] if memory.signed else int(array[row]) >> 32 * lane
                    await self.write("WINDOW_DATA", int(word))

    async def dump(self) -> State:
        """Read all state through the window."""
        state = State.initial(self.parameters)
        for memory in self.map.memories:
            await self.write("WINDOW_MEMORY", memory.number)
            await self.write("WINDOW_ROW", 0)
            await self.write("WINDOW_LANE", 0)
            words = [
                [await self.read("WINDOW_DATA") for _ in range(memory.lanes)]
                for _ in range(memory.rows)
            ]
            array = getattr(state, memory.name.lower())
            if memory.signed:
                array[:] = np.array(words, np.uint32).astype(np.int32)
            else:
                array[:] = [sum(word << 32 * i for i, word in enumerate(row)) for row in words]
        return state

    def memories(self) -> tuple[list[list[int]], list[list[int]]]:
        """Return weights and biases as the simulator has them."""
        p, layout = self.parameters, Layout.of(self.parameters)

        def content(memory: Any, rows: int, bits: int) -> list[list[int]]:
            texts = [str(memory[row].value) for row in range(rows)]
            width = p.lanes * bits
            return [
                [
                    int(text[width - (lane + 1) * bits : width - lane * bits], 2)
                    - (int(text[width - (lane + 1) * bits]) << bits)
                    for lane in range(p.lanes)
                ]
                for text in texts
            ]

        trainer = self.dut.trainer
        return (
            content(trainer.weights, layout.rows, p.weight_bits),
            content(trainer.biases.by_row, layout.block_rows, p.bias_bits),
        )


@cocotb.test()
async def registers(dut: Any) -> None:
    """Every register reads and writes as the map says; everything else is refused."""
    host = Host(dut)
    await host.reset()

    async def snapshot() -> dict[str, int]:
        names = [each.name for each in host.map if each.readable and each.name != "WINDOW_DATA"]
        return {name: await host.read(name) for name in names}

    before = await snapshot()
    assert before == {name: host.map[name].reset for name in before}
    for register in host.map:
        if not register.readable:
            _, response = await host.read_at(register.offset)
            await host.check_refused(response, "ACCESS")
        if not register.writable:
            await host.check_refused(await host.write_at(register.offset, 0), "ACCESS")
            continue
        await host.check_refused(await host.write_at(register.offset, 0, size=1), "STROBES")
        for bit in range(32):
            if register.unused >> bit & 1:
                await host.check_refused(await host.write_at(register.offset, 1 << bit), "VALUE")
        for field in register.fields:
            if field.largest < (1 << field.bits) - 1:
                value = (field.largest + 1) << field.low
                await host.check_refused(await host.write_at(register.offset, value), "VALUE")
    assert await snapshot() == before
    for register in host.map:
        if register.access is Access.READ_WRITE and register.name != "WINDOW_DATA":
            for field in register.fields:
                for value in (field.largest << field.low, 0):
                    await host.write(register.name, value)
                    assert await host.read(register.name) == value, (register.name, field.name)
    known = {each.offset for each in host.map}
    for offset in range(0, 1 << ADDRESS_BITS, 4):
        if offset not in known:
            assert (await host.read_at(offset))[1] == AxiResp.SLVERR, hex(offset)
            assert await host.write_at(offset, 0) == AxiResp.SLVERR, hex(offset)
    await host.check_refused(AxiResp.SLVERR, "ADDRESS")
    assert await snapshot() == before


@cocotb.test()
async def misaligned(dut: Any) -> None:
    """Addresses that are no multiple of 4, which the bus model does not send, are refused."""
    for name in ("awvalid", "wvalid", "arvalid", "bready", "rready"):
        getattr(dut, f"s_axil_{name}").value = 0
    dut.s_axil_wstrb.value = 0b1111
    dut.s_axil_wdata.value = 0
    dut.s_axis_tvalid.value = 0
    dut.m_axis_tready.value = 0
    dut.aresetn.value = 0
    Clock(dut.aclk, 2, "ns").start()
    await ClockCycles(dut.aclk, 4)
    dut.aresetn.value = 1

    async def answer(request: tuple[str, ...], response: str, address: int) -> int:
        """Return the response of an access whose requests all come in one clock."""
        dut.s_axil_awaddr.value = dut.s_axil_araddr.value = address
        for name in request:
            getattr(dut, f"s_axil_{name}valid").value = 1
        getattr(dut, f"s_axil_{response}ready").value = 1
        for _ in range(20):
            await RisingEdge(dut.aclk)
            for name in request:
                if getattr(dut, f"s_axil_{name}ready").value == 1:
                    getattr(dut, f"s_axil_{name}valid").value = 0
            if getattr(dut, f"s_axil_{response}valid").value == 1:
                getattr(dut, f"s_axil_{response}ready").value = 0
                return int(getattr(dut, f"s_axil_{response}resp").value)
        raise TimeoutError(f"no answer at {address:#x}")

    for address in range(0x80, 0xB0):
        aligned = address % 4 == 0
        known = aligned and address in {each.offset for each in RegisterMap.of(parameters())}
        readable = known and address != 0x80
        assert await answer(("ar",), "r", address) == (0b00 if readable else 0b10), hex(address)
        if not aligned:
            assert await answer(("aw", "w"), "b", address) == 0b10, hex(address)


@cocotb.test()
async def training(dut: Any) -> None:
    """Train, evaluate, train: records, counters, interrupts and the dumped state are right."""
    host = Host(dut)
    await host.reset()
    p = host.parameters
    network = Network(p)
    await host.write("INTERRUPT_MASK", 0b001)
    await host.write("SAMPLE_INTERVAL", 5)
    wrong = trained = done = 0
    exact: Rule = "exact" if p.inference == "exact" else "thresholded"
    parts: list[tuple[bool, int, int, Rule, int]] = [
        (True, 8, p.max_rate_shift, "sampled", 1),
        (False, 5, 0, "sampled", 3),
        (True, 8, 0, "sampled", 1),
        (False, 5, 0, "thresholded", 1),
        (False, 5, 0, exact, 1),
    ]
    for train, count, shift, rule, draws in parts:
        before = network.state.copy()
        samples = range(done, done + count)
        wrong += await host.run(network, samples, train=train, shift=shift, rule=rule, draws=draws)
        if train:
            each = [sample % len(host.labels) for sample in samples]
            again = Network(p, before).train(host.pixels[each], host.labels[each], shift)
            trained += int(again.trained.sum())
        done += count
        # Stopped, and at least one interval is full after each part.
        assert await host.read("INTERRUPT_STATUS") == 0b011
        assert dut.irq.value == 1
        await host.write("INTERRUPT_STATUS", 0b001)
        assert dut.irq.value == 0
        await host.write("INTERRUPT_STATUS", 0b010)
    assert await host.dump() == network.state
    weights, biases = host.memories()
    assert weights == network.state.weights.tolist()
    assert biases == network.state.biases.tolist()

    assert await host.read("COUNT_SAMPLES") == 0, "not latched yet"
    await host.write("COUNTERS", 0b11)
    counts = [await host.read(f"COUNT_{name}") for name in ("SAMPLES", "ERRORS", "TRAINED")]
    assert counts == [done, wrong, trained]
    clocks = await host.read("COUNT_CLOCKS_LOW")
    assert await host.read("COUNT_CLOCKS_HIGH") == 0
    assert done < clocks < done * PATIENCE
    await host.write("COUNTERS", 0b01)
    assert await host.read("COUNT_SAMPLES") == await host.read("COUNT_CLOCKS_LOW") == 0
    Checkpoint(p, network.state, done).save(Path("checkpoint.npz"))


@cocotb.test()
async def limit(dut: Any) -> None:
    """With a limit the core stops by itself; the rest stays in the stream."""
    host = Host(dut)
    await host.reset()
    network = Network(host.parameters, await host.dump())
    await host.write("MODE", 1)
    await host.write("SAMPLE_LIMIT", 3)
    for sample in range(5):
        host.source.send_nowait(host.packet(sample))
    await host.write("COMMAND", START)
    first = await host.records(3)
    await host.stopped()
    network.train(host.pixels[:3], host.labels[:3])
    assert await host.dump() == network.state
    await host.write("COMMAND", START)
    rest = await host.records(2)
    assert not await host.status("STOPPED")
    await host.write("COMMAND", STOP)
    await host.stopped()
    network.train(host.pixels[3:5], host.labels[3:5])
    assert await host.dump() == network.state
    assert [*first.label, *rest.label] == host.labels[:5].tolist()


@cocotb.test()
async def window(dut: Any) -> None:
    """The window loads and dumps everything, and refuses the rest without an effect."""
    host = Host(dut)
    await host.reset()
    p = host.parameters
    state = State.initial(p.replace(weight_seed=77, draw_seed=78, update_seed=79, dropout_seed=80))
    rng = np.random.default_rng(host.job["seed"])
    state.biases[:] = rng.integers(-p.bias_max, p.bias_max, state.biases.shape, endpoint=True)
    state.weights[0, 0], state.weights[-1, -1] = p.weight_max, -p.weight_max
    await host.load(state)
    assert await host.dump() == state

    data = host.map["WINDOW_DATA"].offset

    async def point(number: int, row: int, lane: int) -> None:
        await host.write("WINDOW_MEMORY", number)
        await host.write("WINDOW_ROW", row)
        await host.write("WINDOW_LANE", lane)

    for memory in host.map.memories:
        # Where a dump ends there is nothing more.
        await point(memory.number, memory.rows, 0)
        await host.check_refused((await host.read_at(data))[1], "WINDOW")
        await host.check_refused(await host.write_at(data, 1), "WINDOW")
        if memory.lanes > 1:
            await point(memory.number, 0, 1)
            await host.check_refused(await host.write_at(data, 1), "WINDOW")
        most = 1 << (memory.bits - 1)
        wrong = (most, -most, most << 1) if memory.signed else ()
        if not memory.signed and memory.bits < 32:
            wrong = (1 << memory.bits,)
        for word in wrong:
            await point(memory.number, 0, 0)
            await host.check_refused(await host.write_at(data, word), "VALUE")
        if not memory.signed:
            await point(memory.number, 0, 0)
            for _ in range(memory.lanes - 1):
                await host.write("WINDOW_DATA", 0)
            await host.check_refused(await host.write_at(data, 0), "VALUE")
        # A row that is not written to its end stays; biases change one by one.
        await point(memory.number, 0, 0)
        for _ in range(memory.lanes - 1):
            await host.write("WINDOW_DATA", 1)
        if memory.name == "BIASES":
            state.biases[0, :-1] = 1
        assert await host.read("WINDOW_LANE") == memory.lanes - 1
    assert await host.dump() == state
    # Nor does one that a command came between: the lanes kept for it may be lost.
    for commands in ((RESET,), (START, STOP)):
        await point(0, 0, 0)
        for _ in range(p.lanes - 1):
            await host.write("WINDOW_DATA", 1)
        for command in commands:
            await host.write("COMMAND", command)
        await host.stopped()
        await host.check_refused(await host.write_at(data, 1), "WINDOW")
    assert await host.dump() == state

    # A running core refuses, and does nothing of it.
    await host.write("COMMAND", START)
    await host.check_refused((await host.read_at(data))[1], "BUSY")
    for name in ("WINDOW_DATA", "WINDOW_ROW", "WINDOW_LANE", "WINDOW_MEMORY"):
        await host.check_refused(await host.write_at(host.map[name].offset, 1), "BUSY")
    for command in (START, ACCEPT):
        answer = await host.write_at(host.map["COMMAND"].offset, command)
        await host.check_refused(answer, "BUSY")
    await host.write("COMMAND", STOP)
    await host.stopped()
    assert await host.dump() == state


@cocotb.test()
async def resets(dut: Any) -> None:
    """A reset at any clock leaves whole samples, or a state that must be accepted or reloaded."""
    host = Host(dut)
    p, state = host.parameters, None
    cuts = 0
    command = host.map["COMMAND"].offset
    await host.reset()
    network = Network(p)
    await host.load(network.state)
    sample = 0
    for trial in range(host.job["trials"]):
        await host.write("MODE", 1)
        await host.write("COMMAND", START)
        count = host.random.randint(1, 4)
        for each in range(sample, sample + count):
            host.source.send_nowait(host.packet(each))
        await ClockCycles(dut.aclk, host.random.randint(1, 400))
        if trial % 4 == 3:
            await host.write("COMMAND", RESET)
            await ClockCycles(dut.aclk, 2)
        await host.reset(host.random.randint(2, 4))
        assert await host.read("STATUS") & 0b111 == 0b010
        if await host.status("DIRTY"):
            cuts += 1
            await host.check_refused(await host.write_at(command, START), "DIRTY")
            await host.load(network.state)
            await host.check_refused(await host.write_at(command, START), "DIRTY")
            await host.write("COMMAND", ACCEPT)
            assert not await host.status("DIRTY")
        else:
            state = await host.dump()
            for done in range(count + 1):
                if state == network.state:
                    break
                assert done < count, f"trial {trial}: no state after whole samples"
                at = (sample + done) % len(host.labels)
                network.train(host.pixels[at : at + 1], host.labels[at : at + 1])
            sample += done
        await host.run(network, range(sample, sample + 1), train=True)
        sample += 1
        weights, biases = host.memories()
        assert weights == network.state.weights.tolist(), trial
        assert biases == network.state.biases.tolist(), trial
    assert await host.dump() == network.state
    dut._log.warning("%d of %d resets cut a sample short", cuts, host.job["trials"])
    assert 0 < cuts < host.job["trials"]


@cocotb.test()
async def continues(dut: Any) -> None:
    """After a power cycle: load what a run left, and go on as if it had never stopped."""
    host = Host(dut)
    await host.reset()
    checkpoint = Checkpoint.load(Path(host.job["checkpoint"]))
    assert await host.dump() != checkpoint.state
    await host.load(checkpoint.state)
    network = Network(host.parameters, checkpoint.state)
    samples = range(checkpoint.samples, checkpoint.samples + 10)
    await host.run(network, samples, train=True)
    assert await host.dump() == network.state
