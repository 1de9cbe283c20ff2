"""The core: the trainer behind AXI4-Lite registers and AXI4-Stream packets, for an SoC."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.parameters import Parameters
from golden.probes import probe_table
from golden.state import State
from hdl.axi_lite import AxiLite
from hdl.prediction_stream import PredictionStream
from hdl.register_map import RegisterMap
from hdl.sample_stream import SampleStream
from hdl.trainer import Trainer
from hdl.window import Window


class Core(wiring.Component):
    """Train and evaluate a network that a processor looks after (``docs/core.md``).

    Args:
        parameters: The network and its formats; a beat of both streams has
            ``parameters.bus_bits`` bits.
        state: What memories and random sources hold after configuration.
        probed: Have the port ``probes``.

    Raises:
        ParameterError: If the parameters ask for what the gateware does not do, or samples do not
            fit into packets.

    Attributes:
        aclk: Clock of everything.
        aresetn: Reset, active low, synchronous. It clears all but memories, random states and
            ``STATUS.DIRTY``.
        s_axil_awaddr: And the like: AXI4-Lite slave, the registers of ``hdl.register_map``.
        s_axis_tdata: And the like: samples, a packet each.
        m_axis_tdata: And the like: one record a sample.
        irq: A cause in ``INTERRUPT_STATUS`` has its bit in ``INTERRUPT_MASK``.
        probes: The registers of the probe table, as those of the trainer.
    """

    #: Where counters start after a reset, and what they count down to; in a test of all their bits,
    #: shortly before they wrap.
    first_count = 0

    def __init__(self, parameters: Parameters, state: State, *, probed: bool = False) -> None:
        parameters.check_packets()
        bus_bits = parameters.bus_bits
        self._p = parameters
        self._probed = probed
        self._trainer = Trainer(parameters, state, probed=probed)
        self._trainer.first_count = self.first_count
        self._map = RegisterMap.of(parameters)
        self._slave = AxiLite(
            self._map, owned=("WINDOW_MEMORY", "WINDOW_ROW", "WINDOW_LANE", "WINDOW_DATA")
        )
        self._bus = {
            name: member
            for name, member in self._slave.signature.members.items()
            if name not in ("stopped", "done", "data", "write")
        }
        members = {"aclk": In(1), "aresetn": In(1)}
        members |= {f"s_axil_{name}": member for name, member in self._bus.items()}
        for prefix, forth, back in (("s_axis", In, Out), ("m_axis", Out, In)):
            members |= {
                f"{prefix}_tdata": forth(bus_bits),
                f"{prefix}_tkeep": forth(bus_bits // 8),
                f"{prefix}_tlast": forth(1),
                f"{prefix}_tvalid": forth(1),
                f"{prefix}_tready": back(1),
            }
        members["irq"] = Out(1)
        if probed:
            members["probes"] = Out(sum(each.bits * each.words for each in probe_table(parameters)))
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.sync = domain = ClockDomain(local=True)
        m.d.comb += [domain.clk.eq(self.aclk), domain.rst.eq(~self.aresetn)]

        m.submodules.slave = slave = self._slave
        for name, member in self._bus.items():
            inner, outer = getattr(slave, name), getattr(self, f"s_axil_{name}")
            m.d.comb += inner.eq(outer) if member.flow is In else outer.eq(inner)

        # A command of the bus resets what works on samples, and leaves the registers.
        abandon = Signal()
        trainer = self._trainer
        packets = SampleStream(self._p)
        records = PredictionStream(self._p, self.first_count)
        m.submodules.trainer = ResetInserter(abandon)(trainer)
        m.submodules.packets = ResetInserter(abandon)(packets)
        m.submodules.records = ResetInserter(abandon)(records)
        wiring.connect(m, packets.samples, trainer.samples)
        wiring.connect(m, trainer.predictions, records.predictions)
        if self._probed:
            m.d.comb += self.probes.eq(trainer.probes)

        running = Signal()
        in_packet = Signal()
        # A register: only a command starts the core, and none comes before it tells.
        stopped = Signal(init=1)
        m.d.sync += stopped.eq(~(running | in_packet) & packets.idle & trainer.idle)
        m.d.comb += slave.stopped.eq(stopped)
        started = self._connect_samples(m, packets, running, in_packet)
        self._connect_records(m, trainer, records)
        self._connect_commands(m, running, in_packet, stopped, started, abandon)
        self._connect_counters(m, trainer, stopped)
        self._connect_interrupts(m, trainer, packets, stopped)
        self._connect_window(m, trainer, stopped, abandon)
        return m

    def _strobe(self, register: str) -> Value:
        """Return whether a register is being written."""
        return self._slave.select[register] & self._slave.write

    def _connect_samples(
        self, m: Module, packets: SampleStream, running: Signal, in_packet: Signal
    ) -> Value:
        """Let packets in that begin while running; return whether one begins in this clock."""
        slave = self._slave
        open_ = running | in_packet
        taken = Signal()
        started = Signal()
        m.d.comb += [
            packets.tdata.eq(self.s_axis_tdata),
            packets.tkeep.eq(self.s_axis_tkeep),
            packets.tlast.eq(self.s_axis_tlast),
            packets.tvalid.eq(self.s_axis_tvalid & open_),
            self.s_axis_tready.eq(packets.tready & open_),
            packets.train.eq(slave.field("MODE", "TRAIN")),
            packets.rule.eq(slave.field("MODE", "RULE")),
            packets.extra_draws.eq(slave.field("MODE", "DRAWS")),
            packets.shift.eq(slave.field("RATE", "SHIFT")),
            taken.eq(packets.tvalid & packets.tready),
            started.eq(taken & ~in_packet),
        ]
        with m.If(taken):
            m.d.sync += in_packet.eq(~self.s_axis_tlast)
        return started

    def _connect_records(self, m: Module, trainer: Trainer, records: PredictionStream) -> None:
        """Send a record for each sample."""
        m.d.comb += [
            records.logit_valid.eq(trainer.logit_valid),
            records.logit_index.eq(trainer.logit_index),
            records.logit.eq(trainer.logit),
            records.sample_count.eq(trainer.sample_count),
            records.logits.eq(self._slave.field("MODE", "LOGITS")),
            self.m_axis_tdata.eq(records.tdata),
            self.m_axis_tkeep.eq(records.tkeep),
            self.m_axis_tlast.eq(records.tlast),
            self.m_axis_tvalid.eq(records.tvalid),
            records.tready.eq(self.m_axis_tready),
        ]

    def _connect_commands(
        self,
        m: Module,
        running: Signal,
        in_packet: Signal,
        stopped: Signal,
        started: Value,
        abandon: Signal,
    ) -> None:
        slave = self._slave
        codes = dict(self._map["COMMAND"].field("VALUE").values)
        command = {
            name: self._strobe("COMMAND") & (slave.data[:3] == code) for name, code in codes.items()
        }
        # Neither a reset nor a command of the bus changes memories, so both leave this flag.
        dirty = Signal(reset_less=True)
        left = Signal(32)
        limited = Signal()
        limit = slave.value["SAMPLE_LIMIT"]
        m.d.comb += [
            slave.refuse["BUSY"].eq(
                ((command["START"] | command["ACCEPT"]) | slave.select["WINDOW_DATA"]) & ~stopped
            ),
            slave.refuse["DIRTY"].eq(command["START"] & dirty),
            slave.value["STATUS"].eq(Cat(running, stopped, in_packet, dirty)),
        ]
        m.d.sync += abandon.eq(command["RESET"])
        last = (self.first_count + 1) % (1 << 32)
        with m.If(started & limited):
            m.d.sync += left.eq(left - 1)
            with m.If(left == last):
                m.d.sync += running.eq(0)
        with m.If(command["START"] & stopped & ~dirty):
            # Without a limit one sample is left, so that a core that counts in vain stops at once:
            # no fault of `limited` hides for 2**32 samples.
            none = limit == 0
            limit_or_last = Cat(b | none if last >> i & 1 else b for i, b in enumerate(limit))
            m.d.sync += [running.eq(1), left.eq(limit_or_last), limited.eq(limit != 0)]
        with m.If(command["STOP"]):
            m.d.sync += running.eq(0)
        with m.If(abandon):
            m.d.sync += [running.eq(0), in_packet.eq(0)]
        with m.If(command["ACCEPT"] & stopped):
            m.d.sync += dirty.eq(0)
        with m.If((abandon | ~self.aresetn) & self._trainer.cut):
            m.d.sync += dirty.eq(1)

    def _connect_counters(self, m: Module, trainer: Trainer, stopped: Signal) -> None:
        slave = self._slave
        done = trainer.done
        counted = {
            "COUNT_SAMPLES": (32, done),
            "COUNT_ERRORS": (32, done & trainer.wrong),
            "COUNT_TRAINED": (32, done & trainer.trained),
            "COUNT_CLOCKS": (64, ~stopped),
        }
        latch = self._strobe("COUNTERS") & slave.data[0]
        clear = self._strobe("COUNTERS") & slave.data[1]
        for name, (bits, event) in counted.items():
            count = Signal(bits, name=name.lower(), init=self.first_count % (1 << bits))
            latched = Signal(bits, name=f"{name}_latched")
            # What is counted in the clock of a clear is the first of the next count.
            m.d.sync += count.eq(Mux(clear, 0, count) + event)
            with m.If(latch):
                m.d.sync += latched.eq(count)
            if bits == 32:
                m.d.comb += slave.value[name].eq(latched)
            else:
                m.d.comb += [
                    slave.value[f"{name}_LOW"].eq(latched[:32]),
                    slave.value[f"{name}_HIGH"].eq(latched[32:]),
                ]

    def _connect_interrupts(
        self, m: Module, trainer: Trainer, packets: SampleStream, stopped: Signal
    ) -> None:
        slave = self._slave
        before = Signal(init=1)
        first = self.first_count % (1 << 32)
        done_of_interval = Signal(32, init=first)
        interval = slave.value["SAMPLE_INTERVAL"]
        full = trainer.done & (done_of_interval + 1 == interval)
        malformed = Signal()
        m.d.sync += [before.eq(stopped), malformed.eq(packets.malformed)]
        with m.If(trainer.done):
            m.d.sync += done_of_interval.eq(Mux(full, 0, done_of_interval + 1))
        with m.If(self._strobe("SAMPLE_INTERVAL")):
            m.d.sync += done_of_interval.eq(first)
        m.d.comb += [
            slave.event["INTERRUPT_STATUS"].eq(Cat(stopped & ~before, full, malformed)),
            self.irq.eq((slave.value["INTERRUPT_STATUS"] & slave.value["INTERRUPT_MASK"]).any()),
        ]

    def _connect_window(
        self, m: Module, trainer: Trainer, stopped: Signal, abandon: Signal
    ) -> None:
        slave = self._slave
        m.submodules.window = window = Window(self._p)
        wiring.connect(m, window.host, trainer.host)
        offered = slave.select["WINDOW_DATA"]
        m.d.comb += [
            window.data.eq(slave.data),
            window.write.eq(slave.write),
            # Training and a reset of the trainer change the registers that keep a row's lanes.
            window.forget.eq(~stopped | abandon),
            window.set_memory.eq(self._strobe("WINDOW_MEMORY")),
            window.set_row.eq(self._strobe("WINDOW_ROW")),
            window.set_lane.eq(self._strobe("WINDOW_LANE")),
            window.access.eq(offered & stopped),
            slave.done.eq(Mux(window.access, window.done, 1)),
            slave.refuse["WINDOW"].eq(window.done & window.nowhere),
            slave.refuse["VALUE"].eq(window.done & window.misfit & ~window.nowhere),
            slave.value["WINDOW_MEMORY"].eq(window.memory),
            slave.value["WINDOW_ROW"].eq(window.row),
            slave.value["WINDOW_LANE"].eq(window.lane),
            slave.value["WINDOW_DATA"].eq(window.word),
        ]
