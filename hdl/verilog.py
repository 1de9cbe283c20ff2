"""Verilog out: trainer and core as text that simulators and synthesis tools read."""

import re
from dataclasses import dataclass

from amaranth.back import verilog
from amaranth.hdl import *
from amaranth.lib import wiring

from golden.parameters import Parameters
from golden.state import State
from hdl import names
from hdl.core import Core
from hdl.readable import readable
from hdl.trainer import Trainer

#: Module name of the generated trainer.
TOP = "nomul_trainer"

#: Module name of the generated core.
CORE_TOP = "nomul_core"

#: The memories that start at the state, as paths of names below the trainer.
TRAINER_MEMORIES = {
    "weights": "weights",
    "biases": "biases.by_row",
    "biases_by_unit": "biases.by_unit",
}

#: Names of the clock port of either.
CLOCKS = ("clk", "aclk")


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
        memories: Where the memories that start at the state are, as paths of names below the top:
            ``"weights"``, ``"biases"`` and ``"biases_by_unit"``.
    """

    verilog: str
    top: str
    ports: tuple[Port, ...]
    memories: dict[str, str]


def convert(component: wiring.Component, name: str) -> str:
    """Return a component as Verilog whose combinational blocks start in every simulator.

    An ``always @*`` block runs when something that it reads changes. In SystemVerilog mode Icarus
    counts the initialiser of a declaration as no change, so that a block which reads only registers
    at rest would keep its outputs unknown; an ``initial`` statement does count.
    """
    text = verilog._convert_rtlil_text(names.convert(component, name), strip_internal_attrs=True)
    text = readable(text)
    return re.sub(
        r"^( *)reg (\[\d+:\d+\] )?(\\\S+ |\w+) *= ([^;]+);",
        r"\1reg \2\3;\n\1initial \3 = \4;",
        text,
        flags=re.MULTILINE,
    )


def generate(parameters: Parameters, state: State, *, probed: bool = False) -> Generated:
    """Generate the trainer.

    Args:
        parameters: The network and its formats.
        state: What memories and random sources hold after configuration.
        probed: Give it the port ``probes``, for the lockstep.

    Raises:
        ParameterError: If the parameters ask for what the gateware does not do.
    """
    return generate_trainer(Trainer(parameters, state, probed=probed))


def generate_trainer(trainer: Trainer) -> Generated:
    """Generate a trainer that is built already."""
    clocks = (Port("clk", "input", 1), Port("rst", "input", 1))
    return generated_module(trainer, TOP, clocks, TRAINER_MEMORIES)


def generate_core(parameters: Parameters, state: State, *, probed: bool = False) -> Generated:
    """Generate the core.

    Args:
        parameters: The network and its formats.
        state: What memories and random sources hold after configuration.
        probed: Give it the port ``probes``.

    Raises:
        ParameterError: If the parameters ask for what the gateware does not do, or samples do not
            fit into packets.
    """
    return generated_module(
        Core(parameters, state, probed=probed),
        CORE_TOP,
        (),
        {name: f"trainer.{path}" for name, path in TRAINER_MEMORIES.items()},
    )


def generated_module(
    component: wiring.Component, top: str, clocks: tuple[Port, ...], memories: dict[str, str]
) -> Generated:
    """Return a component as Verilog.

    Args:
        component: The component.
        top: Name of its module.
        clocks: Ports for clock and reset of the domain ``sync``, if the component does not make it.
        memories: Where ``"weights"`` and ``"biases"`` are, below the top.
    """
    ports = list(clocks)
    for path, member, value in component.signature.flatten(component):
        direction = "input" if member.flow is wiring.In else "output"
        ports.append(Port("__".join(map(str, path)), direction, len(Value.cast(value))))
    return Generated(
        verilog=convert(component, top),
        top=top,
        # A port without bits (the label of a one-class network) is not in the text.
        ports=tuple(port for port in ports if port.bits),
        memories=memories,
    )
