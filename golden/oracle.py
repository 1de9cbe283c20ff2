"""The oracle: the contract once more, in plain Python integers and as naively as can be.

Written from ``docs/arithmetic.md`` alone and sharing nothing with the rest of the package but the
parameters, so that a slip in the fast models shows as a difference. Section numbers are those of
the contract. Very slow: for networks of some dozen units.

Data is multiplied only where the contract has a product; a ``*`` anywhere else is one of addresses,
or makes the seeds. :mod:`golden.operations` counts on that: it executes this with integers that
count.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from golden.parameters import Parameters

#: ``T`` by output unit and input.
Drawn = dict[tuple[int, int], int]

#: The live inputs of a layer, in order: ``h`` by ``j`` (section 6).
Live = dict[int, int]

#: Makes ``total + T * h`` of the total, ``T`` and what stands for ``h``.
Plus = Callable[[int, int, int], int]

#: The parts of learning from a sample: sections 6, 7, 8 and 9.
Phase = Literal["forward", "loss", "backward", "update"]


def _clip(value: int, maximum: int) -> int:
    """Section 1."""
    low, high = value < -maximum, value > maximum
    return -maximum if low else maximum if high else value


def _half(shift: int) -> int:
    """Sections 8 and 9."""
    return 0 if shift == 0 else 2 ** (shift - 1)


def _plus_product(total: int, t: int, x: int) -> int:
    """Section 13: a weight itself times an input."""
    return total + t * x


def _plus_shifted(total: int, t: int, e: int) -> int:
    """Section 13: a weight itself times the power of two of an input."""
    return total + (t << e)


def _argmax(z: list[int]) -> int:
    """Sections 7 and 13: the lowest ``i`` with the largest ``z[i]``."""
    return max(range(len(z)), key=z.__getitem__)


def _live(h: list[int]) -> Live:
    """Section 6: the list of the layer above."""
    return {j: x for j, x in enumerate(h) if x != 0}


def _seeded(seed: int, i: int, width: int) -> int:
    """Section 4: where source ``i`` of a seed starts."""
    x = (seed + (i + 1) * 0x9E3779B97F4A7C15) % 2**64
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) % 2**64
    x = x ^ (x >> 31)
    return max(x >> (64 - width), 1)


def _stepped(v: int, width: int) -> int:
    """Section 4: the state after ``v``."""
    a, b, c = {16: (7, 9, 8), 32: (13, 17, 5), 64: (13, 7, 17)}[width]
    v ^= (v << a) % 2**width
    v ^= v >> b
    v ^= (v << c) % 2**width
    return v


class Oracle:
    """A network and its trainer, one sample at a time.

    The state is in memory order, in lists of Python integers: ``weights[row][lane]``,
    ``biases[block_row][lane]``, and the states of the sources ``draw[i]``, ``update[i]``,
    ``dropout[0]``.
    """

    #: Where sums start; a subclass may want another kind of integer.
    zero = 0

    def __init__(self, parameters: Parameters) -> None:
        p = self.parameters = parameters
        width, sources = p.random_width, range(p.random_sources)
        self.draw = [_seeded(p.draw_seed, i, width) for i in sources]
        self.update = [_seeded(p.update_seed, i, width) for i in sources]
        self.dropout = [_seeded(p.dropout_seed, 0, width)]
        self._row_base, self._block_base = [0], [0]  # by layer l - 1, as every list of layers here
        for inputs, units in zip(p.layers, p.layers[1:], strict=False):
            self._row_base.append(self._row_base[-1] + self._blocks(units) * inputs)
            self._block_base.append(self._block_base[-1] + self._blocks(units))
        self.weights = self._initial_weights()
        self.biases = [[0] * p.lanes for _ in range(self._block_base[-1])]

    def _initial_weights(self) -> list[list[int]]:
        """Section 4: the rows of weights before the first sample."""
        p = self.parameters
        fraction = p.weight_bits - 1
        v = _seeded(p.weight_seed, 0, 32)
        rows = []
        for inputs, units in zip(p.layers, p.layers[1:], strict=False):
            for block in range(self._blocks(units)):
                for _ in range(inputs):
                    row = [0] * p.lanes
                    for lane in range(min(p.lanes, units - block * p.lanes)):
                        signed = v - 2**32 if v >= 2**31 else v
                        row[lane] = max(signed >> (31 - fraction), -(2**fraction - 1))
                        v = _stepped(v, 32)
                    rows.append(row)
        return rows

    def _enter(self, phase: Phase) -> None:
        """Begin a phase; for a subclass that wants to know."""

    def _blocks(self, units: int) -> int:
        return (units + self.parameters.lanes - 1) // self.parameters.lanes

    def _place(self, layer: int, i: int, j: int) -> tuple[int, int]:
        """Section 3: row and lane of the weight of ``layer`` from input ``j`` to unit ``i``."""
        block, lane = divmod(i, self.parameters.lanes)
        return self._row_base[layer] + block * self.parameters.layers[layer] + j, lane

    def _bias_places(self, layer: int) -> list[tuple[int, int]]:
        """Section 3: block row and lane of the bias of every unit of ``layer``."""
        units = range(self.parameters.layers[layer + 1])
        places = (divmod(i, self.parameters.lanes) for i in units)
        return [(self._block_base[layer] + block, lane) for block, lane in places]

    def _take(self, sources: list[int]) -> list[int]:
        """Section 4: return the words of all sources and step them."""
        words = list(sources)
        sources[:] = [_stepped(v, self.parameters.random_width) for v in sources]
        return words

    def _top(self, word: int, bits: int) -> int:
        """Section 4: random bits of a word."""
        return word >> (self.parameters.random_width - bits)

    def _low(self, word: int, bits: int) -> int:
        """Section 9: the lowest bits of a word."""
        return word & ((1 << bits) - 1)

    def _roundings(self, words: list[int], bits: int, shift: int) -> list[int]:
        """Sections 5 and 9: ``r`` of every source; lane ``c`` uses that of source ``c mod S``."""
        return [(((self._top(word, bits) << 1) | 1) << shift) >> (bits + 1) for word in words]

    def _fraction(self) -> int:
        """Section 5: ``g``, the fraction bits of ``T``."""
        p = self.parameters
        return p.weight_bits - 1 if p.connect == "none" else p.draw_steps - 1

    def _drawn_away(self, g: int) -> int:
        """Section 5: ``q``."""
        p = self.parameters
        return p.weight_bits if p.connect == "binary" else p.weight_bits - 1 - g

    def _drawn(self, weight: int, r: int, g: int) -> int:
        """Section 5: ``T`` with ``g`` fraction bits."""
        if self.parameters.connect == "binary":
            one = 2 ** (self.parameters.weight_bits - 1)
            return 1 if (weight + one + r) >> self._drawn_away(g) >= 1 else -1
        return (weight + r) >> self._drawn_away(g)

    def _draw(self, inputs: Iterable[int], layer: int) -> Drawn:
        """Section 6: ``T`` of a layer for some inputs."""
        p = self.parameters
        random = p.draw == "stochastic" and p.connect != "none"
        bits = p.draw_bits if random else 0
        units, g = p.layers[layer + 1], self._fraction()
        drawn: Drawn = {}
        for block in range(self._blocks(units)):
            for j in inputs:
                words = self._take(self.draw) if random else [0] * p.random_sources
                r = self._roundings(words, bits, self._drawn_away(g))
                for i in range(block * p.lanes, min((block + 1) * p.lanes, units)):
                    row, lane = self._place(layer, i, j)
                    weight = self.weights[row][lane]
                    if p.connect == "none":
                        drawn[i, j] = weight
                    else:
                        drawn[i, j] = self._drawn(weight, r[lane % p.random_sources], g)
        return drawn

    def _plus(self, total: int, t: int, x: int) -> int:
        """Section 6: ``total + T * x``; only without connect is that a multiplication."""
        p = self.parameters
        if p.connect == "none":
            return total + t * x
        if t == 0:
            x = 0
        elif p.draw_steps == 2 and not -2 < t < 2:
            x = x << 1
        return total - x if t < 0 else total + x

    def _sums(self, layer: int, drawn: Drawn, live: Live, g: int, plus: Plus) -> list[int]:
        """Section 6: ``z`` of a layer, from its ``T`` of ``g`` fraction bits."""
        z = []
        for i, (row, lane) in enumerate(self._bias_places(layer)):
            total = (self.biases[row][lane] << g) >> self.parameters.bias_fraction_bits
            for j, x in live.items():
                total = plus(total, drawn[i, j], x)
            z.append(total)
        return z

    def _activation(self, z: int, shift: int) -> int:
        """Section 6: ``h``."""
        maximum = (1 << self.parameters.activation_bits) - 1
        return min((max(z, self.zero) + ((1 << shift) - 1)) >> shift, maximum)

    def _output_delta(self, z: list[int], label: int) -> list[int]:
        """Section 7: ``d_L``."""
        p = self.parameters
        shift = p.activation_shifts[-1] + self._fraction()
        margin, maximum = 2**p.margin_bits, 2 ** (p.output_delta_bits - 1) - 1
        delta = []
        for i, total in enumerate(z):
            o = total >> shift
            d = max(self.zero, margin - o) if i == label else -max(self.zero, margin + o)
            delta.append(_clip(d, maximum))
        return delta

    def _hidden_delta(self, layer: int, drawn: Drawn, live: Live, delta: list[int]) -> list[int]:
        """Section 8: the deltas of the inputs of a layer."""
        p = self.parameters
        shift = p.delta_shifts[layer - 1] + self._fraction()
        below = [0] * p.layers[layer]
        for j in live:
            total = self.zero
            for i, d in enumerate(delta):
                total = self._plus(total, drawn[i, j], d)
            below[j] = _clip((total + _half(shift)) >> shift, 2 ** (p.hidden_delta_bits - 1) - 1)
        return below

    def _leading_one(self, x: int) -> int:
        """Section 9: the position ``a`` of the leading one."""
        return x.bit_length() - 1

    def _nearest(self, x: int) -> int:
        """Section 9: ``quantize`` by the rule ``nearest``."""
        a = self._leading_one(x)
        return a + (((x << 1) >> a) & 1)  # bit a of 2 x is bit a - 1 of x

    def _exponent(self, x: int, words: list[int]) -> int | None:
        """Section 9: ``e``; ``None`` where there is none (section 11)."""
        p = self.parameters
        if p.quantizer == "none":
            return None
        if p.quantizer == "stochastic":
            q = self._low(words[0], p.activation_bits - 1)
            e = self._leading_one(x + (q & ((1 << self._leading_one(x)) - 1)))
        else:
            e = self._nearest(x)
        return min(e, p.max_exponent) if e >= p.min_exponent else None

    def _scaled(self, d: int, x: int, e: int | None) -> int:
        """Section 9: ``d << e``; only without quantizer is there a multiplication."""
        if self.parameters.quantizer == "none":
            return d * x
        return self.zero if e is None else d << e

    def _update_weight(self, layer: int, i: int, j: int, gradient: int, r: int, k: int) -> None:
        """Section 9: the weight from input ``j`` to unit ``i``."""
        row, lane = self._place(layer, i, j)
        weight = self.weights[row][lane] + ((gradient + r) >> k)
        self.weights[row][lane] = _clip(weight, 2 ** (self.parameters.weight_bits - 1) - 1)

    def _update_biases(self, layer: int, delta: list[int], rate_shift: int) -> None:
        """Section 9: the biases of a layer."""
        p = self.parameters
        shift = p.bias_shift + rate_shift
        for d, (row, lane) in zip(delta, self._bias_places(layer), strict=True):
            bias = self.biases[row][lane] + ((d + _half(shift)) >> shift)
            self.biases[row][lane] = _clip(bias, 2 ** (p.bias_bits - 1) - 1)

    def _dropped(self, pixels: Sequence[int], train: bool) -> list[int]:
        """Section 11: input dropout."""
        n = self.parameters.input_dropout_bits
        if n == 0:
            return list(pixels)
        if not train:
            return [x - (x >> n) for x in pixels]
        live = [x != 0 and self._top(self._take(self.dropout)[0], n) != 0 for x in pixels]
        return [x if kept else 0 for x, kept in zip(pixels, live, strict=True)]

    def sample(
        self, pixels: Sequence[int], label: int, train: bool = True, rate_shift: int = 0
    ) -> int:
        """Show one sample and return the prediction (sections 6 to 10).

        Args:
            pixels: ``n_0`` integers in ``0 .. 2**A - 1``.
            label: ``0 .. n_L - 1``; has no effect if not ``train``.
            train: Whether to learn from it; otherwise nothing changes.
            rate_shift: ``sh``.
        """
        p = self.parameters
        g, depth = self._fraction(), len(p.layers) - 1
        draw_before = list(self.draw)

        self._enter("forward")
        lists = [_live(self._dropped(pixels, train))]
        drawn: list[Drawn] = []
        for layer in range(depth):
            drawn.append(self._draw(lists[layer], layer))
            z = self._sums(layer, drawn[layer], lists[layer], g, self._plus)
            if layer < depth - 1:
                shift = p.activation_shifts[layer] + g
                lists.append(_live([self._activation(total, shift) for total in z]))

        self._enter("loss")  # z is that of the last layer
        prediction = _argmax(z)
        if not train:
            self.draw = draw_before
            return prediction
        deltas = [self._output_delta(z, label)]
        if not any(deltas[0]):
            return prediction

        self._enter("backward")  # deltas[0] is always that of the layer reached
        for layer in range(depth - 1, 0, -1):
            deltas.insert(0, self._hidden_delta(layer, drawn[layer], lists[layer], deltas[0]))

        self._enter("update")
        for layer in range(depth - 1, -1, -1):
            k = p.update_shifts[layer] + rate_shift
            units = p.layers[layer + 1]
            for block in range(self._blocks(units)):
                for j, x in lists[layer].items():
                    words = self._take(self.update)
                    e = self._exponent(x, words)
                    r = self._roundings(words, p.update_bits, k)
                    for i in range(block * p.lanes, min((block + 1) * p.lanes, units)):
                        gradient = self._scaled(deltas[layer][i], x, e)
                        self._update_weight(layer, i, j, gradient, r[i % p.lanes % len(r)], k)
            self._update_biases(layer, deltas[layer], rate_shift)
        return prediction

    def batch(
        self, pixels: Sequence[Sequence[int]], labels: Sequence[int], rate_shift: int = 0
    ) -> list[int]:
        """Learn from one minibatch and return its predictions (section 12).

        Args:
            pixels: For each sample, ``n_0`` integers in ``0 .. 2**A - 1``.
            labels: For each sample, ``0 .. n_L - 1``.
            rate_shift: ``sh``.
        """
        p = self.parameters
        g, depth = self._fraction(), len(p.layers) - 1
        samples = range(len(labels))

        self._enter("forward")
        lists = [[_live(self._dropped(row, True)) for row in pixels]]
        drawn: list[Drawn] = []
        for layer in range(depth):
            drawn.append(self._draw(range(p.layers[layer]), layer))
            z = [self._sums(layer, drawn[layer], lists[layer][b], g, self._plus) for b in samples]
            if layer < depth - 1:
                shift = p.activation_shifts[layer] + g
                h = [[self._activation(total, shift) for total in z[b]] for b in samples]
                lists.append([_live(h[b]) for b in samples])

        self._enter("loss")
        predictions = [_argmax(z[b]) for b in samples]
        deltas = [[self._output_delta(z[b], labels[b]) for b in samples]]
        if not any(any(delta) for delta in deltas[0]):
            return predictions

        self._enter("backward")
        for layer in range(depth - 1, 0, -1):
            below = [
                self._hidden_delta(layer, drawn[layer], lists[layer][b], deltas[0][b])
                for b in samples
            ]
            deltas.insert(0, below)

        self._enter("update")
        for layer in range(depth - 1, -1, -1):
            k = p.update_shifts[layer] + rate_shift
            units, inputs = p.layers[layer + 1], range(p.layers[layer])
            exponents: list[dict[int, int | None]] = [{} for _ in samples]
            for b in samples:
                for j, x in lists[layer][b].items():
                    stochastic = p.quantizer == "stochastic"
                    words = self._take(self.update) if stochastic else [0]
                    exponents[b][j] = self._exponent(x, words)
            for block in range(self._blocks(units)):
                for j in inputs:
                    r = self._roundings(self._take(self.update), p.update_bits, k)
                    for i in range(block * p.lanes, min((block + 1) * p.lanes, units)):
                        gradient = self.zero
                        for b in samples:
                            if j in lists[layer][b]:
                                x, e = lists[layer][b][j], exponents[b][j]
                                gradient += self._scaled(deltas[layer][b][i], x, e)
                        self._update_weight(layer, i, j, gradient, r[i % p.lanes % len(r)], k)
            total = [sum((deltas[layer][b][i] for b in samples), self.zero) for i in range(units)]
            self._update_biases(layer, total, rate_shift)
        return predictions

    def infer(self, pixels: Sequence[int], rule: str, draws: int = 1) -> int:
        """Return the prediction of an inference rule; nothing changes (section 13).

        Args:
            pixels: ``n_0`` integers in ``0 .. 2**A - 1``.
            rule: ``"sampled"``, ``"thresholded"``, ``"exact"`` or ``"pow2"``.
            draws: ``K``, of the rule ``"sampled"``.
        """
        p = self.parameters
        whole = rule in {"exact", "pow2"}
        g = p.weight_bits - 1 if whole else p.draw_steps - 1
        plus: Plus = self._plus
        if rule == "sampled":
            g = self._fraction()
        elif rule == "pow2":
            plus = _plus_shifted
        elif whole:
            plus = _plus_product
        draw_before = list(self.draw)
        logits = [0] * p.layers[-1]
        for _ in range(draws if rule == "sampled" else 1):
            live = _live(self._dropped(pixels, train=False))
            for layer in range(len(p.layers) - 1):
                if rule == "sampled":
                    drawn = self._draw(live, layer)
                else:
                    half = self._roundings([0], 0, self._drawn_away(g))[0]
                    drawn = {}
                    for i in range(p.layers[layer + 1]):
                        for j in live:
                            row, lane = self._place(layer, i, j)
                            weight = self.weights[row][lane]
                            drawn[i, j] = weight if whole else self._drawn(weight, half, g)
                if rule == "pow2":
                    live = {j: self._nearest(x) for j, x in live.items()}
                z = self._sums(layer, drawn, live, g, plus)
                shift = p.activation_shifts[layer] + g
                live = _live([self._activation(total, shift) for total in z])
            logits = [total + more for total, more in zip(logits, z, strict=True)]
        self.draw = draw_before
        return _argmax(logits)

    def digest(self) -> str:
        """Return the SHA-256 of the state, equal to that of :meth:`golden.state.State.digest`."""
        words = [word for rows in (self.weights, self.biases) for row in rows for word in row]
        words += self.draw + self.update + self.dropout
        return hashlib.sha256(
            b"".join((word % 2**64).to_bytes(8, "little") for word in words)
        ).hexdigest()
