"""The folder of a generated design: one template for each file that is text."""

import hashlib
import importlib.metadata
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import numpy.typing as npt

from golden.layout import Layout, by_unit
from golden.parameters import Parameters
from golden.state import State
from hdl.register_map import ADDRESS_BITS, RegisterMap
from hdl.verilog import CORE_TOP, Generated
from sim.export.ip_xact import access, buses
from sim.export.memories import hex_words, split_memories
from sim.export.vectors import Vectors, lane_words

#: Period of the clock in the constraints, ns.
PERIOD = 10

_TEMPLATES = {
    "{top}.core": ("fusesoc.core.j2", "FuseSoC: targets `default`, `sim`, `lint`"),
    "{top}.xml": ("component.xml.j2", "IP-XACT component (IEEE 1685-2014)"),
    "{top}.sdc": ("constraints.sdc.j2", "timing constraints, a stub"),
    "{top}.xdc": ("constraints.xdc.j2", "the same for Vivado"),
    "{top}.lpf": ("constraints.lpf.j2", "the same for Lattice tools and nextpnr"),
    "{top}_lint.vlt": ("lint.vlt.j2", "waivers for `verilator --lint-only -Wall`"),
}

_CORE_TEMPLATES = {
    "{top}.h": ("header.h.j2", "C header of the registers"),
    "{top}.py": ("driver.py.j2", "Python driver, without dependencies"),
}

_PORTS = {
    "clk": "clock",
    "aclk": "clock",
    "rst": "reset, synchronous, active high",
    "aresetn": "reset, synchronous, active low",
    "samples": "stream of samples",
    "predictions": "stream of predictions",
    "logit_valid": "a logit in this clock",
    "logit_index": "its output unit",
    "logit": "sum of that unit so far, over the draws",
    "sample_count": "samples done since reset",
    "idle": "no sample in hand, and every write has landed",
    "done": "a sample is done in this clock; then `wrong` and `trained` tell of it",
    "wrong": "its prediction is not its label",
    "trained": "it changed the weights",
    "cut": "a reset in this clock would cut a sample short",
    "host": "access to memories and random states while idle (`docs/architecture.md`)",
    "probes": "registers of the probe table, packed (`manifest.json`)",
    "s_axil": "AXI4-Lite, the registers",
    "s_axis": "AXI4-Stream, samples",
    "m_axis": "AXI4-Stream, records",
    "irq": "interrupt",
}


@dataclass(frozen=True)
class Memory:
    """A memory with initial content.

    Attributes:
        name: Its name.
        path: Path below the top.
        rows: Words.
        bits: Bits of a word.
        lane_bits: Bits of a lane of it.
        array: The array of ``golden.state.State`` that it holds.
    """

    name: str
    path: str
    rows: int
    bits: int
    lane_bits: int
    array: str

    def content(self, parameters: Parameters, state: State) -> str:
        """Return what a state is in it, as a memory file."""
        words: npt.NDArray[np.integer[Any]] = getattr(state, self.array)
        if self.name == "biases_by_unit":
            words = np.array(by_unit(parameters, state.biases)).reshape(-1, 1)
        return lane_words(words, self.lane_bits)


@dataclass(frozen=True)
class Project:
    """What a folder is written from.

    Attributes:
        generated: The gateware.
        vectors: The run of its testbench.
    """

    generated: Generated
    vectors: Vectors

    @property
    def parameters(self) -> Parameters:
        """The network and its formats."""
        return self.vectors.parameters

    @property
    def registers(self) -> RegisterMap | None:
        """The registers, of a core."""
        if self.generated.top != CORE_TOP:
            return None
        return RegisterMap.of(self.parameters)

    @cached_property
    def memories(self) -> list[Memory]:
        """The memories that start at the state."""
        p, layout, paths = self.parameters, Layout.of(self.parameters), self.generated.memories
        units = len(by_unit(p, self.vectors.final.biases))
        return [
            Memory(name, paths[name], rows, bits * lanes, bits, array)
            for name, rows, bits, lanes, array in (
                ("weights", layout.rows, p.weight_bits, p.lanes, "weights"),
                ("biases", layout.block_rows, p.bias_bits, p.lanes, "biases"),
                ("biases_by_unit", units, p.bias_bits, 1, "biases"),
            )
        ]

    def files(self) -> dict[str, tuple[str, str]]:
        """Return content and description of each file, by name."""
        top, vectors = self.generated.top, self.vectors
        is_core = self.registers is not None
        text, contents = split_memories(self.generated)
        files = {f"{top}.v": (text, "the gateware, Verilog-2005")}
        for name, content in contents.items():
            files[name] = (content, "initial content of a memory, for `$readmemh`")
        sent = vectors.packets() if is_core else vectors.transfers()
        widths = {port.name: port.bits for port in self.generated.ports}
        beat_bits = self.parameters.bus_bits * 9 // 8 + 1  # data, TKEEP, TLAST
        sent_bits = beat_bits if is_core else widths["samples__payload"]
        received_bits = 33 if is_core else widths["predictions__payload"]
        label_bits = (received_bits - 1) // 2
        received = vectors.records() if is_core else vectors.payloads_out(label_bits)
        kind = "core" if is_core else "trainer"
        names = {f"{top}_tb.v": (f"testbench_{kind}.v.j2", "self-checking testbench")} | _TEMPLATES
        if is_core:
            names |= _CORE_TEMPLATES
        context = self._context() | {
            "transfers": len(sent),
            "payload_bits": sent_bits,
            "record_bits": received_bits,
            "record_beats": len(received),
            "clocks": 0 if is_core else vectors.clocks(),
        }
        for name, (template, description) in names.items():
            files[name.format(top=top)] = (_render(template, context), description)
        for name, content in (
            ("transfers", hex_words(sent, sent_bits)),
            ("records", hex_words(received, received_bits)),
            *((each.name, each.content(self.parameters, vectors.final)) for each in self.memories),
        ):
            files[f"{top}_tb_{name}.mem"] = (content, "vectors of the testbench")
        context["descriptions"] = {name: what for name, (_, what) in files.items()}
        files[f"{top}.md"] = (_render("document.md.j2", context), "ports and registers")
        return files

    def write(self, folder: Path) -> list[dict[str, Any]]:
        """Write all files; return name, SHA-256 and description of each."""
        listing = []
        for name, (content, description) in self.files().items():
            data = content.encode()
            (folder / name).write_bytes(data)
            digest = hashlib.sha256(data).hexdigest()
            listing.append({"name": name, "sha256": digest, "description": description})
        return listing

    def _context(self) -> dict[str, Any]:
        """Return what the templates know."""
        p, generated, vectors = self.parameters, self.generated, self.vectors
        top, registers = generated.top, self.registers
        labels = vectors.stimulus.labels
        clock = generated.ports[0].name
        return {
            **_names(top, p),
            "vlnv": f"nomul:ip:{top}:{importlib.metadata.version('nomul')}",
            "description": f"Training of a {'-'.join(map(str, p.layers))} network, no multiplier",
            "layers": p.layers,
            "lanes": p.lanes,
            "ports": generated.ports,
            "port_text": _port_text,
            "unused": [
                port
                for port in generated.ports
                if port.direction == "input" and port.name.startswith("host__")
            ],
            "memories": self.memories,
            "clock": clock,
            "period": PERIOD,
            "prefix": top.upper(),
            "registers": registers,
            "window": registers.memories if registers else (),
            "commands": dict(registers["COMMAND"].field("VALUE").values) if registers else {},
            "buses": buses(generated.ports, clock, generated.ports[1].name),
            "access": access,
            "address_range": 1 << ADDRESS_BITS,
            "samples": len(labels),
            "train_count": int(vectors.stimulus.train.sum()),
            "wrong": int((vectors.predictions != labels).sum()),
            "source": vectors.source,
            # Far more than samples and accesses can need.
            "limit": 1000 + len(labels) * 8 * (p.layers[0] + 2 * Layout.of(p).rows + 1000),
        }


def python_driver(parameters: Parameters) -> str:
    """Return the text of the Python driver of a network's core."""
    registers = RegisterMap.of(parameters)
    context = {"registers": registers, "window": registers.memories}
    context["commands"] = dict(registers["COMMAND"].field("VALUE").values)
    return _render(_CORE_TEMPLATES["{top}.py"][0], _names(CORE_TOP, parameters) | context)


def _names(top: str, parameters: Parameters) -> dict[str, Any]:
    """Return what every template knows of a module and its streams."""
    return {
        "top": top,
        "version": importlib.metadata.version("nomul"),
        "class_name": "".join(word.title() for word in top.split("_")),
        "pixels": parameters.layers[0],
        "bus_bits": parameters.bus_bits,
    }


def _render(template: str, context: dict[str, Any]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sim.export"),
        autoescape=jinja2.select_autoescape(["xml.j2"], default=False),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["plain"] = lambda text: text.replace("`", "").rstrip(".")
    return environment.get_template(template).render(context)


def _port_text(name: str) -> str:
    """Return what a port is for."""
    return next(text for start, text in _PORTS.items() if name.startswith(start))
