"""Bus interfaces and access rights in the words of IP-XACT (IEEE 1685-2014)."""

from dataclasses import dataclass

from hdl.register_map import Access, Register
from hdl.verilog import Port


@dataclass(frozen=True)
class Bus:
    """A bus interface.

    Attributes:
        name: Prefix of its ports.
        type: Name of the bus definition of ``amba.com``, library ``AMBA4``.
        version: Its version.
        mode: ``"slave"`` or ``"master"``.
        ports: Physical names of ports, by their names in the bus definition.
    """

    name: str
    type: str
    version: str
    mode: str
    ports: dict[str, str]


_KINDS = (
    ("s_axil", "AXI4-Lite", "r0p0_0", "slave"),
    ("s_axis", "AXI4Stream", "r0p0_1", "slave"),
    ("m_axis", "AXI4Stream", "r0p0_1", "master"),
)


def buses(ports: tuple[Port, ...], clock: str, reset: str) -> list[Bus]:
    """Return the bus interfaces of the core, from the names of its ports."""
    found = []
    for name, kind, version, mode in _KINDS:
        names = {
            port.name.removeprefix(f"{name}_").upper(): port.name
            for port in ports
            if port.name.startswith(f"{name}_")
        }
        if names:
            prefix = {"ACLK": clock, "ARESETn": reset}
            found.append(Bus(name, kind, version, mode, prefix | names))
    return found


def access(register: Register) -> str:
    """Return what may be done with a register."""
    return {
        Access.READ_ONLY: "read-only",
        Access.WRITE_ONLY: "write-only",
        Access.READ_WRITE: "read-write",
        Access.CLEAR_ON_ONE: "read-write",
    }[register.access]
