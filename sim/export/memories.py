"""Initial memory contents as files, which the Verilog text reads."""

import re

from hdl.verilog import Generated

_MEMORY = re.compile(
    r"^  reg \[(?P<high>\d+):0\] (?P<name>\w+) \[(?P<last>\d+):0\];\n"
    r"  initial begin\n(?P<words>(?:    \w+\[\d+\] = \d+'\w+;\n)+)  end\n",
    re.MULTILINE,
)

_DEFAULT = """\
// Initial content of the memories; define these names to read other files.
{macros}
"""

_MACRO = """\
`ifndef {macro}
`define {macro} "{file}"
`endif
"""

_ZERO = """\
  reg [{high}:0] {name} [{last}:0];
  integer {name}_row;
  initial
    for ({name}_row = 0; {name}_row <= {last}; {name}_row = {name}_row + 1)
      {name}[{name}_row] = {bits}'d0;
"""

_FILE = """\
  reg [{high}:0] {name} [0:{last}];
  initial $readmemh(`{macro}, {name});
"""


def split_memories(generated: Generated) -> tuple[str, dict[str, str]]:
    """Move the contents of the weight and bias memories out of the text.

    Memories that start as zeros get a loop.

    Returns:
        The Verilog text, and by the name of a file its content: a line of hexadecimal digits for
        each word.
    """
    files: dict[str, str] = {}
    macros = []
    names = {path.rpartition(".")[2]: name for name, path in generated.memories.items()}

    def moved(found: re.Match[str]) -> str:
        name, bits = found["name"], int(found["high"]) + 1
        parts = {**found.groupdict(), "bits": bits}
        words = [_value(line) for line in found["words"].splitlines()]
        if name in names:
            stem = f"{generated.top}_{names[name]}"
            file, macro = f"{stem}.mem", stem.upper()
            files[file] = hex_words(words, bits)
            macros.append(_MACRO.format(macro=macro, file=file))
            return _FILE.format(**parts, macro=macro)
        return found[0] if any(words) else _ZERO.format(**parts)

    text = _MEMORY.sub(moved, generated.verilog)
    return _DEFAULT.format(macros="".join(macros)) + text, files


def hex_words(words: list[int], bits: int) -> str:
    """Return words as ``$readmemh`` reads them."""
    digits = -(-bits // 4)
    return "".join(f"{word:0{digits}x}\n" for word in words)


def _value(line: str) -> int:
    base, digits = line.rstrip(";").split("'")[1][0], line.rstrip(";").split("'")[1][1:]
    return int(digits, {"h": 16, "d": 10, "b": 2}[base])
