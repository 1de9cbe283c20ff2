"""The claim that nothing multiplies, as a report: every check, and every check shown to fail."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from golden.parameters import Parameters
from golden.state import State
from hdl import names
from hdl.core import Core
from hdl.trainer import Trainer
from hdl.verilog import CORE_TOP, TOP
from sim.synthesis.census import MULTIPLIERS, Census, elaborated, synthesized
from sim.synthesis.families import FAMILIES
from sim.synthesis.operand_rule import Findings, Violation, operand_rule
from sim.synthesis.planted import DISGUISES, LANE_TOP, PRODUCT, planted_lane

#: Part of the rule and instance of what is exempt, with the reason.
EXEMPT = {
    ("one copy", "booth"): "evaluation only: exact inference, bit-serial: a lane's Booth digits of "
    "a weight",
    ("constant multiple", "loader"): "evaluation only: with input dropout a pixel x counts as "
    "x - (x >> n), n a constant",
    ("one copy", "quantize"): "stochastic quantizer: x + Q, the random number Q masked below the "
    "leading one of x",
}

#: Whose lane the multipliers are planted in: wide enough that each family takes a DSP block.
_PLANTED_IN = "digits"


def reason(violation: Violation) -> str | None:
    """Return why a violation is exempt, or ``None`` if it is not.

    A sum of copies is exempt as that of the one adder that the reason is about: where there are
    more, none is.
    """
    if violation.rule == "one copy" and violation.adders != 1:
        return None
    return EXEMPT.get((violation.rule, violation.place.rpartition(".")[2]))


@dataclass(frozen=True)
class Planted:
    """A planted multiplier.

    Attributes:
        name: Which.
        check: What is to find it.
        found: What that found; nothing, if it was missed.
        clean: The same check finds nothing in the lane as it is.
    """

    name: str
    check: str
    found: list[str]
    clean: bool

    @property
    def caught(self) -> bool:
        """Whether the check tells the two lanes apart."""
        return bool(self.found) and self.clean


@dataclass(frozen=True)
class Proof:
    """The report.

    Attributes:
        top: Module.
        parameters: Of the network.
        elaborated: Cells before any mapping.
        rule: The operand rule.
        synthesized: Cells after synthesis, by family.
        planted: The planted multipliers.
    """

    top: str
    parameters: Parameters
    elaborated: Census
    rule: Findings
    synthesized: dict[str, Census] = field(default_factory=dict)
    planted: list[Planted] = field(default_factory=list)

    def faults(self) -> list[str]:
        """Return what contradicts the claim, in a line each; empty if it holds."""
        found = [f"elaborated: {cell}" for cell in self.elaborated.found]
        found += [str(each) for each in self.rule.violations]
        for family, census in self.synthesized.items():
            found += [f"{family}: {cell}" for cell in census.found]
        found += [f"planted {p.name} missed by {p.check}" for p in self.planted if not p.caught]
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return the report for a JSON file."""
        return {
            "top": self.top,
            "holds": not self.faults(),
            "faults": self.faults(),
            "elaborated": {"searched": list(MULTIPLIERS), **asdict(self.elaborated)},
            "operand_rule": {
                **asdict(self.rule),
                "exempt": [{**asdict(each), "reason": reason(each)} for each in self.rule.exempt],
            },
            "synthesized": {
                family: {
                    "family": FAMILIES[family].title,
                    "command": FAMILIES[family].command,
                    "searched": [*MULTIPLIERS, *FAMILIES[family].dsps],
                    **asdict(census),
                }
                for family, census in self.synthesized.items()
            },
            "planted": [{**asdict(each), "caught": each.caught} for each in self.planted],
        }


def prove(
    parameters: Parameters,
    state: State,
    top: str,
    families: Sequence[str],
    folder: Path,
    progress: Callable[[str], None],
) -> Proof:
    """Check a configuration, and that the checks can fail.

    Args:
        parameters: The network.
        state: What its memories start with.
        top: ``"core"`` or ``"trainer"``.
        families: Keys of :data:`sim.synthesis.families.FAMILIES`.
        folder: Where Yosys works.
        progress: Called with a few words before each step.

    Raises:
        ParameterError: If the gateware does not do what the parameters ask for.
        SynthesisError: If Yosys is not installed, or fails.
        UnknownCellError: If the netlist has a cell that the operand rule does not know.
    """
    progress("elaborate")
    component = Core(parameters, state) if top == "core" else Trainer(parameters, state)
    name = CORE_TOP if top == "core" else TOP
    rtlil = names.convert(component, name)
    progress("census of elaborated cells")
    census, netlist = elaborated(rtlil, name, folder)
    progress("operand rule")
    rule = operand_rule(netlist, lambda violation: reason(violation) is not None)
    proof = Proof(name, parameters, census, rule)
    for family in families:
        progress(f"synthesis for {FAMILIES[family].title}")
        proof.synthesized[family] = synthesized(rtlil, name, family, folder)
    proof.planted.extend(_plant(families, folder, progress))
    return proof


def _plant(families: Sequence[str], folder: Path, progress: Callable[[str], None]) -> list[Planted]:
    """Give a lane multipliers, and check it as it is and with each of them."""
    p = Parameters.named(_PLANTED_IN)

    def never(violation: Violation) -> bool:
        return False

    progress("planted multipliers")
    plain, product = planted_lane(p, None), planted_lane(p, PRODUCT)
    census, netlist = elaborated(plain, LANE_TOP, folder)
    fine = not operand_rule(netlist, never).violations
    found = list(elaborated(product, LANE_TOP, folder)[0].found)
    planted = [Planted(PRODUCT.__name__, "elaborated", found, census.clean)]
    for unit in DISGUISES:
        census, netlist = elaborated(planted_lane(p, unit), LANE_TOP, folder)
        # A disguise that the census sees is none.
        found = [str(each) for each in operand_rule(netlist, never).violations]
        planted.append(Planted(unit.__name__, "operand rule", found, fine and census.clean))
    for family in families:
        progress(f"planted multiplier for {FAMILIES[family].title}")
        clean = synthesized(plain, LANE_TOP, family, folder).clean
        found = list(synthesized(product, LANE_TOP, family, folder).found)
        planted.append(Planted(PRODUCT.__name__, family, found, clean))
    return planted
