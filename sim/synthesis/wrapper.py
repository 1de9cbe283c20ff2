"""A design with three pins around a module with hundreds of ports, to place and route it.

No package has as many pins, and pins would set the clock: a module inside of a chip has registers
on its other side. So each input comes from a register, which are one long shift register, and each
output goes into a register; a tree of exclusive ors, a register behind each, makes one pin of
these. Each input can be anything in each clock and each output is seen, so no tool may leave out
anything of the module. Paths within the wrapper have one look-up table at most.
"""

from collections.abc import Sequence

from hdl.verilog import CLOCKS, Generated

#: Module name of the wrapper, and name of the module's instance in it.
WRAPPER_TOP, INSTANCE = "nomul_placed", "module_"


def wrap(generated: Generated) -> str:
    """Return the text of the wrapper.

    The registers of a port have the port's name. Ports of the wrapper: ``wrapper_clk``,
    ``wrapper_in``, ``wrapper_out``.
    """
    ports = [port for port in generated.ports if port.name not in CLOCKS]
    lines = [f"module {WRAPPER_TOP} (input wrapper_clk, input wrapper_in, output wrapper_out);"]
    connections = [f".{port.name}(wrapper_clk)" for port in generated.ports if port.name in CLOCKS]
    before, outputs = "wrapper_in", []
    for port in ports:
        name, last = port.name, port.bits - 1
        connection = name
        lines.append(f"  reg [{last}:0] {name};")
        if port.direction == "input":
            shifted = f"{{{name}[{last - 1}:0], {before}}}" if last else before
            before = f"{name}[{last}]"
        else:
            connection = shifted = f"{name}_out"
            lines.append(f"  wire [{last}:0] {connection};")
            outputs.append((name, port.bits))
        lines.append(f"  always @(posedge wrapper_clk) {name} <= {shifted};")
        connections.append(f".{name}({connection})")
    lines.append(f"  {generated.top} {INSTANCE} ({', '.join(connections)});")
    lines += _fold([f"{name}[{bit}]" for name, bits in outputs for bit in range(bits)])
    return "\n".join([*lines, "endmodule\n"])


def _fold(level: Sequence[str]) -> list[str]:
    """Return the lines that make one pin of registers, by exclusive ors of four with registers."""
    lines, depth = [], 0
    while len(level) > 1:
        groups = [level[first : first + 4] for first in range(0, len(level), 4)]
        name = f"wrapper_fold{depth}"
        lines.append(f"  reg [{len(groups) - 1}:0] {name};")
        lines.append(f"  always @(posedge wrapper_clk) {name} <= {{")
        # The first in braces is the highest bit.
        lines.append(",\n".join(f"    {' ^ '.join(group)}" for group in reversed(groups)))
        lines.append("  };")
        level, depth = [f"{name}[{bit}]" for bit in range(len(groups))], depth + 1
    return [*lines, f"  assign wrapper_out = {level[0]};"]
