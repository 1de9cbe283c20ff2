"""The ULX3S (Lattice ECP5-85F): the core behind the USB serial port, button and LEDs."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.parameters import Parameters
from golden.state import State
from hdl.board.link import Link
from hdl.board.pll import Pll
from hdl.core import Core
from hdl.verilog import TRAINER_MEMORIES, Generated, generated_module

#: Module names of the board without its clock generator, and of the whole.
BOARD_TOP, ULX3S_TOP = "nomul_board", "nomul_ulx3s"

#: Clocks that reset lasts after power-up and after the button, and that an LED stays on at least,
#: as powers of two: of 50 MHz, 84 ms.
_RESET_BITS, _GLOW_BITS, _BLINK_BITS = 4, 22, 25

#: Pins of the ULX3S, version 3: port, site, and how it is driven.
_PINS = (
    ("clk_25mhz", "G2", "PULLMODE=NONE"),
    ("ftdi_txd", "M1", "PULLMODE=UP"),
    ("ftdi_rxd", "L4", "PULLMODE=UP DRIVE=4"),
    ("btn_pwr_n", "D6", "PULLMODE=UP"),
    ("wifi_gpio0", "L2", "PULLMODE=NONE DRIVE=4"),
    *(
        (f"led[{place}]", site, "PULLMODE=NONE DRIVE=4")
        for place, site in enumerate(("B2", "C2", "C1", "D2", "D1", "E2", "E1", "H3"))
    ),
)


class Board(wiring.Component):
    """All of the board's gateware but the clock generator.

    Args:
        parameters: The network and its formats.
        state: What memories and random sources hold after configuration.
        divisor: Clocks of a bit on the serial line.
        probed: Have the port ``probes``.

    Raises:
        ParameterError: If the parameters ask for what the core does not do.
        ValueError: If the divisor is below :data:`hdl.uart.MIN_DIVISOR`.

    Attributes:
        clk: Clock of everything.
        locked: The clock is what it should be.
        button_n: 0 resets.
        rx: Serial line from the host.
        tx: Serial line to the host.
        leds: 0 blinks: the clock runs, no reset. 1: the link is open. 2: a request is in hand.
            3: a byte came. 4: a byte goes. 5: a sample is done. 6: ``irq`` of the core. 7: a
            request was lost or damaged, until the next HELLO.
        probes: The registers of the trainer's probe table.
    """

    def __init__(
        self, parameters: Parameters, state: State, divisor: int, *, probed: bool = False
    ) -> None:
        self._core = Core(parameters, state, probed=probed)
        self._link = Link(parameters, divisor)
        self._probed = probed
        members = {
            "clk": In(1),
            "locked": In(1),
            "button_n": In(1),
            "rx": In(1),
            "tx": Out(1),
            "leds": Out(8),
        }
        if probed:
            members["probes"] = Out(len(self._core.probes))
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # The core makes its own domain ``sync``.
        m.domains.board = board = ClockDomain(local=True)
        m.domains.power = power = ClockDomain(local=True, reset_less=True)
        m.d.comb += [board.clk.eq(self.clk), power.clk.eq(self.clk)]
        self._connect_reset(m, board)

        m.submodules.core = core = self._core
        link = self._link
        m.submodules.link = DomainRenamer("board")(link)
        m.d.comb += [
            link.rx.eq(self.rx),
            self.tx.eq(link.tx),
            core.aclk.eq(self.clk),
            core.aresetn.eq(~board.rst),
        ]
        for name, member in link.buses.items():
            ours, theirs = getattr(link, name), getattr(core, name)
            m.d.comb += theirs.eq(ours) if member.flow is Out else ours.eq(theirs)
        if self._probed:
            m.d.comb += self.probes.eq(core.probes)
        self._connect_leds(m, link, core)
        return m

    def _connect_reset(self, m: Module, domain: ClockDomain) -> None:
        """Reset while the clock is not locked or the button pressed, and some clocks longer."""
        meta, steady = Signal(2), Signal(2)
        clocks = Signal(_RESET_BITS)
        reset = Signal(init=1)
        m.d.power += [
            meta.eq(Cat(self.locked, self.button_n)),
            steady.eq(meta),
            clocks.eq(Mux(steady.all(), clocks + ~clocks.all(), 0)),
            reset.eq(~(clocks.all() & steady.all())),
        ]
        m.d.comb += domain.rst.eq(reset)

    def _connect_leds(self, m: Module, link: Link, core: Core) -> None:
        """Show flags as they are, and events long enough to be seen."""
        time = Signal(_BLINK_BITS)
        m.d.board += time.eq(time + 1)
        glows = []
        for name in ("busy", "received", "sent", "sampled"):
            event = getattr(link, name)
            seen, glow = Signal(name=f"{name}_seen"), Signal(name=f"{name}_glow")
            with m.If(event):
                m.d.board += seen.eq(1)
            with m.If(time[:_GLOW_BITS] == 0):
                m.d.board += [glow.eq(seen), seen.eq(event)]
            glows.append(glow)
        m.d.board += self.leds.eq(Cat(time[-1], link.open, *glows, core.irq, link.lost))


def generate_board(
    parameters: Parameters, state: State, divisor: int, *, probed: bool = False
) -> Generated:
    """Generate the board without its clock generator.

    Args:
        parameters: The network and its formats.
        state: What memories and random sources hold after configuration.
        divisor: Clocks of a bit on the serial line.
        probed: Give it the port ``probes``.

    Raises:
        ParameterError: If the parameters ask for what the core does not do.
        ValueError: If the divisor is below :data:`hdl.uart.MIN_DIVISOR`.
    """
    return generated_module(
        Board(parameters, state, divisor, probed=probed),
        BOARD_TOP,
        (),
        {name: f"core.trainer.{path}" for name, path in TRAINER_MEMORIES.items()},
    )


def ulx3s_verilog(board: Generated, pll: Pll) -> str:
    """Return the whole top, with the clock generator, as Verilog text."""
    return f"""{board.verilog}
module {ULX3S_TOP} (input clk_25mhz, input ftdi_txd, output ftdi_rxd, input btn_pwr_n,
                    output [7:0] led, output wifi_gpio0);
  wire clk, feedback, locked;
{pll.to_verilog()}
  {board.top} board (.clk(clk), .locked(locked), .button_n(btn_pwr_n),
    .rx(ftdi_txd), .tx(ftdi_rxd), .leds(led));
  // At 0 the board's ESP32 would take over.
  assign wifi_gpio0 = 1'b1;
endmodule
"""


def ulx3s_constraints() -> str:
    """Return pins, and what the board demands of a bitstream, as an LPF file."""
    lines = [
        "# ULX3S version 3",
        "BLOCK RESETPATHS;",
        "BLOCK ASYNCPATHS;",
        "SYSCONFIG CONFIG_IOVOLTAGE=3.3 COMPRESS_CONFIG=ON MCCLK_FREQ=62 MASTER_SPI_PORT=ENABLE"
        " SLAVE_SPI_PORT=DISABLE SLAVE_PARALLEL_PORT=DISABLE;",
        'FREQUENCY PORT "clk_25mhz" 25 MHZ;',
    ]
    for port, site, options in _PINS:
        lines.append(f'LOCATE COMP "{port}" SITE "{site}";')
        lines.append(f'IOBUF PORT "{port}" IO_TYPE=LVCMOS33 {options};')
    return "\n".join(lines) + "\n"
