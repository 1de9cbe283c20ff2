"""The proof as text that a reviewer reads."""

from collections.abc import Iterable, Mapping, Sequence

from sim.markdown import table
from sim.synthesis.census import MULTIPLIERS
from sim.synthesis.families import FAMILIES
from sim.synthesis.operand_rule import Findings
from sim.synthesis.proof import Planted, Proof, reason

_KINDS = {"mask": "0 or 1", "sign": "+1 or -1", "shift": "a power of two"}


def markdown(proof: Proof) -> str:
    """Return the whole report."""
    p = proof.parameters
    faults = proof.faults()
    network = "-".join(map(str, p.layers))
    parts = [
        f"# No multiplier in {proof.top}",
        f"{network}, {p.lanes} lanes, {p.weight_bits}-bit weights, {p.connect} connect, "
        f"inference {p.inference}.",
        "**The claim holds.**" if not faults else "**The claim does not hold:**",
        *(["\n".join(f"- {fault}" for fault in faults)] if faults else []),
        "## Cells as elaborated",
        "Before any mapping (`proc -norom; flatten; opt_clean`) there must be none of "
        f"{_codes(MULTIPLIERS)}. Found: {_found(proof.elaborated.found)}.",
        _cells(proof.elaborated.cells),
        *_rule(proof.rule),
        *_synthesized(proof),
        *_planted(proof.planted),
        "What each check means, and what it does not exclude, is in `docs/proof.md` of nomul.",
    ]
    return "\n\n".join(parts) + "\n"


def _codes(names: Iterable[str]) -> str:
    return " ".join(f"`{name}`" for name in names)


def _found(cells: Mapping[str, int]) -> str:
    return ", ".join(f"{count} `{kind}`" for kind, count in cells.items()) or "none"


def _cells(cells: Mapping[str, int]) -> str:
    ordered = sorted(cells.items(), key=lambda item: (-item[1], item[0]))
    return table(("cell", "count"), ((f"`{kind}`", f"{count:,}") for kind, count in ordered))


def _rule(rule: Findings) -> list[str]:
    return [
        "## The operand rule",
        f"{rule.adders:,} adders and subtracters looked at, {len(rule.violations)} violations.",
        *(["\n".join(f"- {each}" for each in rule.violations)] if rule.violations else []),
        "Every product, by place: a word, and an operand that stands for 0, +1, -1 or a power of "
        "two. `*` is the number of a lane.",
        table(
            ("place", "data word", "times", "given by", "count"),
            (
                (each.place or "top", each.data, _KINDS[each.kind], each.operand, each.count)
                for each in rule.sites
            ),
        ),
        "Words of which copies meet in an `or`, with masks of which no two are ever 1 together: "
        f"{'; '.join(rule.exclusive) or 'none'}.",
        "Registers that add to themselves:",
        "\n".join(f"- {each}" for each in rule.accumulators),
        "Exempt:" if rule.exempt else "Nothing was exempt from the rule.",
        *(["\n".join(f"- {each} ({reason(each)})" for each in rule.exempt)] if rule.exempt else []),
    ]


def _synthesized(proof: Proof) -> list[str]:
    parts = ["## Cells after synthesis", "With everything on that maps to DSP blocks."]
    for key, census in proof.synthesized.items():
        family = FAMILIES[key]
        parts += [
            f"### {family.title}",
            f"`{family.command}`; none of {_codes(family.dsps)}. Found: {_found(census.found)}.",
            _cells(census.cells),
        ]
    return parts


def _planted(planted: Sequence[Planted]) -> list[str]:
    return [
        "## Planted multipliers",
        "Each check looks at a lane as it is, and at one with a multiplier planted in it; it must "
        "find something in the second only.",
        table(
            ("planted", "check", "result", "found"),
            (
                (
                    each.name,
                    each.check,
                    "caught" if each.caught else "MISSED",
                    "; ".join(each.found),
                )
                for each in planted
            ),
        ),
    ]
