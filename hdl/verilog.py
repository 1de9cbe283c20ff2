"""Verilog out: the trainer as text that simulators and synthesis tools read."""

import re
from dataclasses import dataclass

from amaranth.back import verilog
from amaranth.hdl import *
from amaranth.lib import wiring

from golden.parameters import Parameters
from golden.state import State
from hdl.trainer import Bench, Trainer

#: Module name of the generated core.
TOP = "nomul_trainer"
#: Module name of the probed core that the lockstep simulates.
BENCH = "bench"


@dataclass(frozen=True)
class Port:
    """A port of the generated module.

    Attributes:
        name: Name in the Verilog text.
        direction: ``"input"`` or ``"output"``.
        bits: Width.
    """

    name: str
    direction: str
    bits: int


@dataclass(frozen=True)
class Generated:
    """A generated module.

    Attributes:
        verilog: The text.
        top: Name of its top module.
        ports: Ports of the top module, clock and reset first.
        memories: Where ``"weights"`` and ``"biases"`` are, as a path of instance names below the top.
    """

    verilog: str
    top: str
    ports: tuple[Port, ...]
    memories: dict[str, str]


def convert(component: wiring.Component, name: str) -> str:
    """Return a component as Verilog whose combinational blocks start in every simulator.

    Amaranth lets each ``always @*`` block read a register that is initialised in its declaration, so
    that the block runs once at time 0. In SystemVerilog mode Icarus counts no event for such an
    initialiser; it does for an ``initial`` statement.
    """
    text = verilog.convert(component, name=name, emit_src=False, strip_internal_attrs=True)
    return re.sub(
        r"^( *)reg (\\\$auto\$\S+ ) *= 0;",
        r"\1reg \2;\n\1initial \2 = 0;",
        text,
        flags=re.MULTILINE,
    )


def generate(parameters: Parameters, state: State, *, probed: bool = False) -> Generated:
    """Generate the trainer.

    Args:
        parameters: The network and its formats.
        state: What memories and random sources hold after configuration.
        probed: Wrap the trainer into a bench with the probe table as a port.

    Raises:
        ParameterError: If the parameters ask for what the gateware does not do.
    """
    component: wiring.Component
    if probed:
        component, top, path = Bench(parameters, state), BENCH, "trainer."
    else:
        component, top, path = Trainer(parameters, state), TOP, ""
    ports = [Port("clk", "input", 1), Port("rst", "input", 1)]
    for names, member, value in component.signature.flatten(component):
        direction = "input" if member.flow is wiring.In else "output"
        ports.append(Port("__".join(map(str, names)), direction, len(Value.cast(value))))
    return Generated(
        verilog=convert(component, top),
        top=top,
        # A port without bits (the label of a one-class network) is not in the text.
        ports=tuple(port for port in ports if port.bits),
        memories={name: path + name for name in ("weights", "biases")},
    )
