"""Yosys's Verilog made readable: plain names, and one module for equal components."""

import re
from collections import defaultdict

_MODULE = re.compile(r"^module .*?^endmodule\n", re.MULTILINE | re.DOTALL)
# At its definition and at its instances.
_MODULE_NAME = re.compile(r"^(module |  )\\([\w.]+) +(?=\w+ \(|\()", re.MULTILINE)
# With the group, ``split`` keeps what it finds.
_IDENTIFIER = re.compile(r"\b([A-Za-z_]\w*)")


def readable(text: str) -> str:
    r"""Return Verilog text of Yosys with other names.

    - The next value of a register ``x`` is ``x_next``, other values without a name ``n1, n2 ..``.
    - The hierarchy ``\top.lane0.select`` is a module ``top_lane0_select``.
    - Modules with the same text, whose names only numbers tell apart, become one:
      ``top_lane_select``.
    """
    text = _MODULE_NAME.sub(lambda found: found[1] + found[2].replace(".", "_") + " ", text)
    return _merge([_rename(module) for module in _MODULE.findall(text)])


def _rename(module: str) -> str:
    """Return a module without names that begin with a dollar."""
    taken = set(_IDENTIFIER.findall(module))
    names: dict[str, str] = {}

    def name(private: str, wanted: str) -> None:
        while wanted in taken:
            wanted += "_"
        taken.add(wanted)
        names[private] = wanted

    for register, private in re.findall(r"^ *(\w+) <= \\(\$\d+) ;", module, re.MULTILINE):
        if private not in names:
            name(private, f"{register}_next")
    for private, memory in re.findall(r"^ *(_\d+_) <= (\w+)\[", module, re.MULTILINE):
        name(private, f"{memory}_word")
    for private in re.findall(r"\\(\$\S+) ", module):
        if private not in names:
            # The trigger of ``always @*`` blocks at the start.
            auto = private.startswith("$auto$")
            name(private, "start" if auto else "n" + re.sub(r"\W", "_", private[1:]))
    private = r"\\(\$\S+) |\b(_\d+_)(?=\W)"
    return re.sub(private, lambda found: names.get(found[1] or found[2], found[0]), module)


def _merge(modules: list[str]) -> str:
    """Return the text of modules, of which equal ones have become one."""
    texts = {module.split()[1]: module for module in modules}
    while True:
        equal = defaultdict(list)
        for name, module in texts.items():
            # Modules of other units stay apart, though they may do the same.
            equal[_unnumbered(name), module.replace(name, "", 1)].append(name)
        groups = [names for names in equal.values() if len(names) > 1]
        if not groups:
            return "\n".join(texts.values())
        merged: dict[str, str] = {}
        for names in groups:
            # Another module may have that name, or another group be given it.
            shared = _unnumbered(names[0])
            if shared in texts or shared in merged.values():
                shared = names[0]
            merged.update(dict.fromkeys(names, shared))
        renamed = {}
        for name, module in texts.items():
            pieces = _IDENTIFIER.split(module)
            text = "".join(merged.get(piece, piece) for piece in pieces)
            renamed.setdefault(merged.get(name, name), text)
        texts = renamed


def _unnumbered(name: str) -> str:
    """Return a module's name without the numbers of instances: ``top_lane_select``."""
    return re.sub(r"(?<=[a-z])\d+(?=_|$)", "", name)
