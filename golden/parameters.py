"""The one object that the golden model and the gateware share.

A :class:`Parameters` is frozen, checks itself, prints itself so that it can be pasted back, and
goes to TOML and back. Everything else that is known of a network before it runs (widths of sums,
places in memory) is derived from it: see :mod:`golden.formats` and :mod:`golden.layout`.
"""

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

import tomli_w

#: State widths of the random sources that are offered (contract, section 4).
RANDOM_WIDTHS = (16, 32, 64)


class ParameterError(ValueError):
    """A parameter is out of range or unknown; the message is one line that names the field."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ParameterError(message)


def _require_int(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ParameterError(f"{name} must be an integer, not {value!r}")
    _require(low <= value <= high, f"{name} must be in {low}..{high}, not {value}")


def _require_ints(name: str, values: Sequence[int], count: int, low: int, high: int) -> None:
    _require(len(values) == count, f"{name} needs {count} entries, not {len(values)}")
    for position, value in enumerate(values):
        _require_int(f"{name}[{position}]", value, low, high)


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """A network, its number formats and its trainer.

    Symbols in parentheses are those of the contract, ``docs/arithmetic.md``. Layers are numbered
    ``l = 1..L``; ``layers`` has ``L + 1`` entries.

    Attributes:
        layers: Sizes ``n_0 .. n_L``, inputs first, classes last: 1 to 8 layers, each of 1..65535
            units.
        lanes: Output units worked on in one clock (``P``), 1..256.
        pixels_per_beat: Input values that the sample stream carries in one transfer, 1..64.
        weight_bits: Bits of a weight, 4..16; ``F = weight_bits - 1`` are fraction bits.
        activation_bits: Bits of an input or a hidden activation (``A``), unsigned, 2..16.
        output_delta_bits: Bits of an output delta, signed and symmetric, 4..16.
        hidden_delta_bits: Bits of a hidden delta, signed and symmetric, 4..16.
        bias_bits: Bits of a bias, signed and symmetric, 8..32.
        bias_fraction_bits: Fraction bits of a bias (``fb``); its unit is one LSB of a sum.
        activation_shifts: One forward shift (``s_l``) a layer, 0..24; the last scales the logits.
        delta_shifts: One backward shift (``sb_l``) for each layer but the first, 0..24.
        update_shifts: One step size ``2**-k`` (``k_l``) a layer, 0..31.
        bias_shift: Step size of the biases (``kb``), 0 .. the smallest of ``update_shifts``.
        margin_bits: The hinge loss has the margin ``2**margin_bits``, in logit LSBs, 0..15.
        connect: ``"ternary"`` or ``"binary"`` connect. Golden model only: ``"none"`` draws
            nothing and computes with the weights themselves.
        draw: ``"stochastic"``, or ``"deterministic"`` (rounding half up, no random bits).
        draw_bits: Random bits of one draw (``rb``), 1 .. bits that the draw rounds away.
        draw_steps: 1 draws from {-1, 0, +1}; 2 from {-1, -1/2, 0, +1/2, +1} (ternary only).
        quantizer: ``"nearest"`` or ``"stochastic"`` power-of-two rounding of a layer's inputs.
            Golden model only: ``"none"`` leaves them as they are.
        update_bits: Random bits in the rounding of a weight update (``u``), 1..16.
        random_sources: Independent sources (``S``) for each of DRAW and UPDATE, 1..lanes.
            Lane ``c`` uses source ``c mod S``.
        random_width: State bits of one random source, 16, 32 or 64.
        schedule: Epochs (counted from 0, ascending) at which the learning rate is halved.
        input_dropout_bits: A training pixel is dropped with the probability
            ``2**-input_dropout_bits``; 0 drops none.
        min_exponent: Golden model only: an input whose power of two is below ``2**min_exponent``
            updates no weight; 0..16.
        max_exponent: Golden model only: larger powers of two become ``2**max_exponent``,
            ``min_exponent``..16; 16 bounds nothing.
        batch_bits: Golden model only: samples are learnt from in minibatches of
            ``2**batch_bits``, 0..10; 0 is online training.
        inference: How the gateware can predict evaluation samples: ``"drawn"`` from drawn and
            thresholded weights, ``"exact"`` from the weights themselves as well, for wider
            accumulators (contract, section 13). The golden model has every rule.
        draw_seed: Seed of the DRAW sources.
        update_seed: Seed of the UPDATE sources; must differ from ``draw_seed``.
        weight_seed: Seed of the initial weights.
        dropout_seed: Seed of the input dropout.

    Raises:
        ParameterError: If a field is out of range; the message names the field.
    """

    layers: tuple[int, ...]
    lanes: int = 8
    pixels_per_beat: int = 4
    weight_bits: int = 8
    activation_bits: int = 8
    output_delta_bits: int = 10
    hidden_delta_bits: int = 12
    bias_bits: int = 24
    bias_fraction_bits: int = 8
    activation_shifts: tuple[int, ...]
    delta_shifts: tuple[int, ...]
    update_shifts: tuple[int, ...]
    bias_shift: int = 1
    margin_bits: int = 6
    connect: Literal["ternary", "binary", "none"] = "ternary"
    draw: Literal["stochastic", "deterministic"] = "stochastic"
    draw_bits: int = 7
    draw_steps: int = 1
    quantizer: Literal["nearest", "stochastic", "none"] = "nearest"
    update_bits: int = 8
    random_sources: int = 1
    random_width: int = 32
    schedule: tuple[int, ...] = ()
    input_dropout_bits: int = 0
    min_exponent: int = 0
    max_exponent: int = 16
    batch_bits: int = 0
    inference: Literal["drawn", "exact"] = "drawn"
    draw_seed: int = 1
    update_seed: int = 2
    weight_seed: int = 3
    dropout_seed: int = 4

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list):
                object.__setattr__(self, field.name, tuple(value))
            elif str(field.type).startswith("tuple"):
                _require(
                    isinstance(value, tuple),
                    f"{field.name} must be a list of integers, not {value!r}",
                )
        _require(
            2 <= len(self.layers) <= 9,
            f"layers needs 2..9 sizes (1 to 8 layers), not {len(self.layers)}",
        )
        _require_ints("layers", self.layers, len(self.layers), 1, 65535)
        _require_int("lanes", self.lanes, 1, 256)
        _require_int("pixels_per_beat", self.pixels_per_beat, 1, 64)
        _require_int("weight_bits", self.weight_bits, 4, 16)
        _require_int("activation_bits", self.activation_bits, 2, 16)
        _require_int("output_delta_bits", self.output_delta_bits, 4, 16)
        _require_int("hidden_delta_bits", self.hidden_delta_bits, 4, 16)
        _require_int("bias_bits", self.bias_bits, 8, 32)
        depth = self.depth
        _require_ints("activation_shifts", self.activation_shifts, depth, 0, 24)
        _require_ints("delta_shifts", self.delta_shifts, depth - 1, 0, 24)
        _require_ints("update_shifts", self.update_shifts, depth, 0, 31)
        _require_int("bias_shift", self.bias_shift, 0, min(self.update_shifts))
        _require_int("margin_bits", self.margin_bits, 0, 15)
        for name, words in (
            ("connect", ("ternary", "binary", "none")),
            ("draw", ("stochastic", "deterministic")),
            ("quantizer", ("nearest", "stochastic", "none")),
            ("inference", ("drawn", "exact")),
        ):
            value = getattr(self, name)
            choice = " or ".join(f'"{word}"' for word in words)
            _require(value in words, f"{name} must be {choice}, not {value!r}")
        _require_int("draw_steps", self.draw_steps, 1, 2 if self.connect == "ternary" else 1)
        _require_int("bias_fraction_bits", self.bias_fraction_bits, self.draw_steps - 1, 16)
        _require(
            self.random_width in RANDOM_WIDTHS,
            f"random_width must be one of {RANDOM_WIDTHS}, not {self.random_width!r}",
        )
        drawn_away = 16 if self.connect == "none" else self.draw_shift
        _require_int("draw_bits", self.draw_bits, 1, min(drawn_away, self.random_width))
        _require_int("update_bits", self.update_bits, 1, 16)
        if self.quantizer == "stochastic":
            _require(
                self.update_bits + self.activation_bits - 1 <= self.random_width,
                "random_width must hold update_bits + activation_bits - 1 = "
                f"{self.update_bits + self.activation_bits - 1} bits for the stochastic quantizer, "
                f"not {self.random_width}",
            )
        _require_int("random_sources", self.random_sources, 1, self.lanes)
        _require_ints("schedule", self.schedule, len(self.schedule), 0, 10**6)
        _require(
            list(self.schedule) == sorted(set(self.schedule)) and len(self.schedule) <= 15,
            f"schedule must be at most 15 ascending epochs, not {list(self.schedule)}",
        )
        _require_int("input_dropout_bits", self.input_dropout_bits, 0, 8)
        _require_int("min_exponent", self.min_exponent, 0, 16)
        _require_int("max_exponent", self.max_exponent, self.min_exponent, 16)
        _require_int("batch_bits", self.batch_bits, 0, 10)
        for name in ("draw_seed", "update_seed", "weight_seed", "dropout_seed"):
            _require_int(name, getattr(self, name), 0, 2**63 - 1)
        _require(
            self.draw_seed != self.update_seed,
            f"update_seed must differ from draw_seed, both are {self.draw_seed}",
        )

    @property
    def depth(self) -> int:
        """Number of layers, ``L``."""
        return len(self.layers) - 1

    @property
    def weight_fraction_bits(self) -> int:
        """Fraction bits of a weight, ``F``."""
        return self.weight_bits - 1

    @property
    def weight_max(self) -> int:
        """Largest magnitude of a weight, ``2**F - 1``."""
        return (1 << self.weight_fraction_bits) - 1

    @property
    def activation_max(self) -> int:
        """Largest activation, ``2**A - 1``."""
        return (1 << self.activation_bits) - 1

    @property
    def output_delta_max(self) -> int:
        """Largest magnitude of an output delta."""
        return (1 << (self.output_delta_bits - 1)) - 1

    @property
    def hidden_delta_max(self) -> int:
        """Largest magnitude of a hidden delta."""
        return (1 << (self.hidden_delta_bits - 1)) - 1

    @property
    def bias_max(self) -> int:
        """Largest magnitude of a bias."""
        return (1 << (self.bias_bits - 1)) - 1

    @property
    def margin(self) -> int:
        """Margin of the hinge loss, ``M``, in logit LSBs."""
        return 1 << self.margin_bits

    @property
    def draw_fraction_bits(self) -> int:
        """Fraction bits of a drawn weight and of every sum over them, ``g``.

        0 or 1, or ``F`` when the weights themselves serve.
        """
        return self.weight_fraction_bits if self.connect == "none" else self.draw_steps - 1

    @property
    def draw_shift(self) -> int:
        """Bits that the draw rounds away, ``q`` (contract, section 5)."""
        if self.connect == "binary":
            return self.weight_fraction_bits + 1
        return self.weight_fraction_bits - self.draw_fraction_bits

    @property
    def planes(self) -> int:
        """Booth digits of a weight, ``N = ceil(weight_bits / draw_steps)`` (contract, 13)."""
        return -(-self.weight_bits // self.draw_steps)

    @property
    def accumulator_fraction_bits(self) -> int:
        """Fraction bits of the gateware's accumulators, ``f``."""
        exact = self.inference == "exact"
        return self.weight_fraction_bits if exact else self.draw_fraction_bits

    @property
    def max_rate_shift(self) -> int:
        """Largest learning-rate shift ``sh``: one step for each entry of the schedule."""
        return len(self.schedule)

    def check_gateware(self) -> None:
        """Check that the gateware can train such a network.

        Raises:
            ParameterError: If a field asks for what only the golden model has.
        """
        for name, value in (
            ("min_exponent", 0),
            ("max_exponent", 16),
            ("batch_bits", 0),
        ):
            _require(
                getattr(self, name) == value,
                f"{name} must be {value} for the gateware, not {getattr(self, name)}: "
                "only the golden model has it",
            )
        for name in ("connect", "quantizer"):
            _require(
                getattr(self, name) != "none",
                f'{name} must not be "none" for the gateware: only the golden model has it',
            )

    @property
    def bus_bits(self) -> int:
        """Bits of a beat of packets: a byte for each pixel of a transfer."""
        return 8 * self.pixels_per_beat

    def check_packets(self) -> None:
        """Check that samples and logits fit into packets (``docs/packets.md``).

        Raises:
            ParameterError: If they do not.
        """
        _require(
            self.pixels_per_beat in (4, 8, 16),
            "pixels_per_beat must be 4, 8 or 16 for packets, on a bus of 32, 64 or 128 bits, "
            f"not {self.pixels_per_beat}",
        )
        _require(
            self.activation_bits <= 8,
            f"activation_bits must be at most 8 for packets, not {self.activation_bits}",
        )
        # The inputs of a sum add less than 2**26, so that the bias decides.
        bias_bits = self.bias_bits - self.bias_fraction_bits + self.draw_fraction_bits
        _require(
            bias_bits < 32,
            f"bias_fraction_bits must be at least {self.bias_fraction_bits + bias_bits - 31} for "
            f"packets, so that a logit has 32 bits, not {self.bias_fraction_bits}",
        )

    def rate_shift(self, epoch: int) -> int:
        """Return the learning-rate shift ``sh`` of an epoch, counted from 0."""
        return sum(start <= epoch for start in self.schedule)

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed, checked again."""
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as TOML values."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(self).items()
        }

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Self:
        """Build parameters from TOML values.

        Raises:
            ParameterError: If a key is unknown or missing, or a value is out of range.
        """
        fields = {field.name: field for field in dataclasses.fields(cls)}
        for key in table:
            _require(key in fields, f"unknown parameter {key!r}; known are {', '.join(fields)}")
        for name, field in fields.items():
            _require(
                name in table or field.default is not dataclasses.MISSING,
                f"parameter {name!r} is missing",
            )
        return cls(**table)

    def to_toml(self) -> str:
        """Return the parameters as a TOML document that :meth:`from_toml` reads back."""
        return tomli_w.dumps(self.to_dict())

    @classmethod
    def from_toml(cls, text: str) -> Self:
        """Build parameters from a TOML document.

        Raises:
            ParameterError: If the text is not TOML, or as for :meth:`from_dict`.
        """
        try:
            table = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ParameterError(f"not a TOML document: {error}") from error
        return cls.from_dict(table)

    @classmethod
    def named(cls, name: str) -> Self:
        """Return a configuration that ships with the package, such as ``"digits"``.

        Raises:
            ParameterError: If there is none of that name.
        """
        _require(
            name in named_configurations(),
            f"no configuration {name!r}; there are {', '.join(named_configurations())}, "
            "or give a .toml file",
        )
        folder = resources.files("golden") / "configs"
        return cls.from_toml((folder / f"{name}.toml").read_text(encoding="utf-8"))

    @classmethod
    def load(cls, config: str) -> Self:
        """Return the configuration called ``config``, a shipped name or the path of a TOML file.

        Raises:
            ParameterError: If there is no such name or file, or the file is at fault.
        """
        if not config.endswith(".toml"):
            return cls.named(config)
        try:
            text = Path(config).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ParameterError(f"cannot read {config}: {error}") from error
        try:
            return cls.from_toml(text)
        except ParameterError as error:
            raise ParameterError(f"{config}: {error}") from error


def named_configurations() -> list[str]:
    """Return the names of the configurations that ship with the package."""
    folder = resources.files("golden") / "configs"
    names = (entry.name for entry in folder.iterdir())
    return sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml"))
