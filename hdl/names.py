"""Names for a reader of the Verilog text: signals and ports are called as in the signatures.

Amaranth alone calls a signal alike in every module and numbers what collides: one port of a module
becomes ``bias``, another ``bias$20``. What is only a part of a signal when it crosses a module's
border becomes ``port$12$3``. Neither can be mended from outside of its netlist, so this file uses
what Amaranth's own ``rtlil.convert`` is made of, in the version that ``pyproject.toml`` names.
"""

import itertools
import re
from collections import defaultdict
from collections.abc import Iterator

from amaranth.back import rtlil
from amaranth.hdl import *
from amaranth.hdl._ast import SignalDict, SignalSet
from amaranth.hdl._ir import Design, PortDirection, build_netlist
from amaranth.hdl._nir import Module as NetlistModule
from amaranth.hdl._nir import Netlist
from amaranth.lib import memory, wiring


def convert(component: wiring.Component, top: str) -> str:
    """Return a component as RTLIL, the text of Yosys, with names for a reader.

    The ports of a component have the names of its signature in its own module, and are
    ``instance__port`` in the module of its parent.

    Args:
        component: The top.
        top: Name of its module.
    """
    netlist = build_netlist(_prepare(component, top))
    # Elements of arrays get no wires of their own: an interpreting simulator would spend its time
    # on them, as every lane that changes evaluates those of all lanes.
    for fields in netlist.signal_fields.values():
        for path in list(fields):
            if any(isinstance(step, int) for step in path):
                del fields[path]
    empty = rtlil.EmptyModuleChecker(netlist)
    text = rtlil.Design(emit_src=False)
    name_map = SignalDict()
    for module in netlist.modules:
        _drop_aliases(netlist, module)
        _name_parts(netlist, module)
    for number, module in enumerate(netlist.modules):
        if not empty.is_empty(number):
            builder = text.module(".".join(module.name))
            if number == 0:
                builder.attribute("top", 1)
            rtlil.ModuleEmitter(builder, netlist, module, name_map, empty_checker=empty).emit()
    # Yosys counts ports from 1, and puts one with the number 0 last.
    return re.sub(
        r"^(  wire .*put )(\d+)",
        lambda found: f"{found[1]}{int(found[2]) + 1}",
        str(text),
        flags=re.MULTILINE,
    )


def _ports(component: wiring.Component) -> Iterator[tuple[str, Signal, wiring.Flow]]:
    """Yield name, signal and flow of each port of a component."""
    interfaces: list[tuple[str, object]] = [("", component)]
    if isinstance(component, memory.Memory):
        interfaces = [("read__", each) for each in component.read_ports]
        interfaces += [("write__", each) for each in component.write_ports]
    for prefix, interface in interfaces:
        for path, member, value in interface.signature.flatten(interface):
            signal = Value.cast(value)
            # A memory port that is always enabled has a constant there.
            if isinstance(signal, Signal):
                yield prefix + "__".join(map(str, path)), signal, member.flow


def _prepare(component: wiring.Component, top: str) -> Design:
    """Elaborate a component, and name its signals and instances."""
    directions = {wiring.In: PortDirection.Input, wiring.Out: PortDirection.Output}
    ports = {name: (signal, directions[flow]) for name, signal, flow in _ports(component)}
    design = Fragment.get(component, None).prepare(ports=ports, hierarchy=(top,))
    components = defaultdict(list)
    for each, fragment in design.elaboratables.items():
        if isinstance(each, wiring.Component):
            components[fragment].append(each)

    def members(fragment: Fragment, prefix: str) -> list[tuple[Signal, str]]:
        return [
            (signal, prefix + name)
            for each in components[fragment]
            for name, signal, _ in _ports(each)
        ]

    def rename(fragment: Fragment, hierarchy: tuple[str, ...]) -> None:
        info = design.fragments[fragment]
        info.name = hierarchy
        below = {
            name or f"unit{i}": each for i, (each, name, _) in enumerate(fragment.subfragments)
        }
        # The first name of a value is the one that stays.
        own = members(fragment, "")
        if fragment is design.fragment:
            own += [(signal, name) for name, signal, _ in design.ports]
        shared = [pair for name, each in below.items() for pair in members(each, f"{name}__")]
        others = SignalSet(signal for signal, _ in shared)
        local = [(each, each.name) for each in info.signal_names if each not in others]
        named = [*own, *local, *shared]
        used, info.signal_names = info.signal_names, type(info.signal_names)()
        taken = set(below)
        for signal, name in named:
            if signal in used and signal not in info.signal_names:
                free = name
                while free in taken:
                    free += "_"
                taken.add(free)
                info.signal_names[signal] = free
        for name, each in below.items():
            rename(each, (*hierarchy, name))

    rename(design.fragment, (top,))
    return design


def _drop_aliases(netlist: Netlist, module: NetlistModule) -> None:
    """Keep only the first name of each value: a module has no wires that copy others."""
    named = {}
    for signal in list(module.signal_names):
        if named.setdefault(netlist.signals[signal], signal) is not signal:
            del module.signal_names[signal]


def _name_parts(netlist: Netlist, module: NetlistModule) -> None:
    """Name the ports that are parts of signals: signal, highest and lowest bit.

    Whole ones come first, in the order of the signature.
    """
    signals = [
        (name, tuple(netlist.signals[signal])) for signal, name in module.signal_names.items()
    ]
    for port in [name for name in module.ports if name.startswith("port$")]:
        value, flow = module.ports.pop(port)
        nets, parts = tuple(value), []
        while nets:
            length, name, low, width = _longest_part(signals, nets)
            high = low + length - 1
            bits = "" if length == width else f"_{low}" if high == low else f"_{high}_{low}"
            parts.append(name + bits)
            nets = nets[length:]
        module.ports["__".join(reversed(parts))] = (value, flow)
    order = {name: place for place, name in enumerate(module.signal_names.values())}
    by_order = sorted(module.ports.items(), key=lambda port: order.get(port[0], len(order)))
    module.ports = dict(by_order)


def _longest_part(
    signals: list[tuple[str, tuple[int, ...]]], nets: tuple[int, ...]
) -> tuple[int, str, int, int]:
    """Return the longest part of a signal that ``nets`` begin with.

    Returns:
        Bits of the part, name, lowest bit, and bits of the whole signal.
    """
    found = []
    for name, whole in signals:
        if nets[0] in whole:
            low = whole.index(nets[0])
            pairs = zip(whole[low:], nets, strict=False)
            length = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
            found.append((length, name, low, len(whole)))
    return max(found, key=lambda part: part[0])
