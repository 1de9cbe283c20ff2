"""Settings of the ECP5's PLL (EHXPLLL) for a clock that is wanted."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Self

#: What the oscillator of the board gives, Hz.
INPUT_HZ = 25_000_000

#: Lowest and highest frequency of the PLL's oscillator, Hz, and largest divider (Lattice
#: FPGA-DS-02012, sysCLOCK PLL timing; FPGA-TN-02200).
VCO_HZ = (400_000_000, 800_000_000)
MAX_DIVIDER = 128

# The phase detector compares 12.5 MHz, the smallest step that it is made for.
_INPUT_DIVIDER = 2
_STEP_HZ = INPUT_HZ // _INPUT_DIVIDER


class FrequencyError(ValueError):
    """No PLL settings give such a clock; one line, fault and mend."""


@dataclass(frozen=True)
class Pll:
    """Dividers: the oscillator runs at 12.5 MHz times ``feedback``, the clock at a part of that.

    Attributes:
        feedback: ``CLKOP_DIV``: the output CLKOP, of 12.5 MHz, is what the PLL locks to.
        output: ``CLKOS_DIV``: the output CLKOS is the clock.

    Raises:
        FrequencyError: If a divider or the oscillator is out of its range.
    """

    feedback: int
    output: int

    def __post_init__(self) -> None:
        low, high = VCO_HZ
        if not (1 <= self.output <= MAX_DIVIDER and 1 <= self.feedback <= MAX_DIVIDER):
            raise FrequencyError(f"dividers of the PLL are 1..{MAX_DIVIDER}, not {self}")
        if not low <= self.vco_hz <= high:
            raise FrequencyError(
                f"the PLL's oscillator runs at {low // 10**6}..{high // 10**6} MHz, "
                f"not {self.vco_hz / 10**6:g} MHz"
            )

    @property
    def vco_hz(self) -> int:
        """Frequency of the PLL's oscillator, Hz."""
        return _STEP_HZ * self.feedback

    @property
    def hz(self) -> Fraction:
        """Frequency of the clock, Hz."""
        return Fraction(self.vco_hz, self.output)

    @classmethod
    def at_most(cls, hz: float) -> Self:
        """Return the settings of the fastest clock that is not above ``hz``, rounded.

        Raises:
            FrequencyError: If ``hz`` is out of the PLL's range.
        """
        low, high = VCO_HZ[0] // MAX_DIVIDER, VCO_HZ[0]
        if not low <= hz <= high:
            raise FrequencyError(
                f"the clock must be in {low / 10**6:g}..{high / 10**6:g} MHz, "
                f"not {hz / 10**6:g} MHz"
            )
        hz = round(hz)
        found = []
        for feedback in range(-(-VCO_HZ[0] // _STEP_HZ), VCO_HZ[1] // _STEP_HZ + 1):
            output = -(-_STEP_HZ * feedback // hz)
            if output <= MAX_DIVIDER:
                found.append(cls(feedback, output))
        # Of equal ones, that with the oscillator nearest to the middle of its range.
        middle = sum(VCO_HZ) // 2
        return max(found, key=lambda each: (each.hz, -abs(each.vco_hz - middle)))

    def to_verilog(self) -> str:
        """Return an instance ``pll`` of ports ``clk_25mhz``, ``clk``, ``locked``."""
        # The phases of the outputs do not matter: all flip-flops have the same clock.
        parameters = {
            "PLLRST_ENA": '"DISABLED"',
            "INTFB_WAKE": '"DISABLED"',
            "STDBY_ENABLE": '"DISABLED"',
            "DPHASE_SOURCE": '"DISABLED"',
            "OUTDIVIDER_MUXA": '"DIVA"',
            "OUTDIVIDER_MUXB": '"DIVB"',
            "OUTDIVIDER_MUXC": '"DIVC"',
            "OUTDIVIDER_MUXD": '"DIVD"',
            "FEEDBK_PATH": '"CLKOP"',
            "CLKI_DIV": _INPUT_DIVIDER,
            "CLKFB_DIV": 1,
            "CLKOP_ENABLE": '"ENABLED"',
            "CLKOP_DIV": self.feedback,
            "CLKOP_CPHASE": self.feedback - 1,
            "CLKOP_FPHASE": 0,
            "CLKOS_ENABLE": '"ENABLED"',
            "CLKOS_DIV": self.output,
            "CLKOS_CPHASE": self.output - 1,
            "CLKOS_FPHASE": 0,
        }
        ports = {
            "CLKI": "clk_25mhz",
            "CLKFB": "feedback",
            "CLKOP": "feedback",
            "CLKOS": "clk",
            "LOCK": "locked",
            **dict.fromkeys(("RST", "STDBY", "PLLWAKESYNC", "ENCLKOP", "ENCLKOS"), "1'b0"),
            **dict.fromkeys(("PHASESEL0", "PHASESEL1"), "1'b0"),
            **dict.fromkeys(("PHASEDIR", "PHASESTEP", "PHASELOADREG"), "1'b1"),
        }
        listed = [
            ",\n".join(f"    .{name}({value})" for name, value in each.items())
            for each in (parameters, ports)
        ]
        return (
            f'  (* FREQUENCY_PIN_CLKI="{INPUT_HZ / 1e6:g}" *)\n'
            f'  (* FREQUENCY_PIN_CLKOP="{_STEP_HZ / 1e6:g}" *)\n'
            f'  (* FREQUENCY_PIN_CLKOS="{float(self.hz) / 1e6:g}" *)\n'
            '  (* ICP_CURRENT="12" *) (* LPF_RESISTOR="8" *)\n'
            '  (* MFG_ENABLE_FILTEROPAMP="1" *) (* MFG_GMCREF_SEL="2" *)\n'
            f"  EHXPLLL #(\n{listed[0]}\n  ) pll (\n{listed[1]}\n  );\n"
        )
