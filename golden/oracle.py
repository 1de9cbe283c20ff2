"""The oracle: the contract once more, in plain Python integers and as naively as can be.

Written from ``docs/arithmetic.md`` alone and sharing nothing with the rest of the package but the
parameters, so that a slip in the fast models shows as a difference. Section numbers are those of
the contract. Very slow: for networks of some dozen units.
"""

import hashlib
from collections.abc import Sequence

from golden.parameters import Parameters

#: ``T`` by output unit and input.
Drawn = dict[tuple[int, int], int]


def _clip(value: int, maximum: int) -> int:
    """Section 1."""
    return min(max(value, -maximum), maximum)


def _half(shift: int) -> int:
    """Sections 8 and 9."""
    return 0 if shift == 0 else 2 ** (shift - 1)


def _nearest_exponent(x: int) -> int:
    """Section 9: ``quantize`` by the rule ``nearest``."""
    a = x.bit_length() - 1
    return a + (x >> (a - 1)) % 2 if a > 0 else 0


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

    def __init__(self, parameters: Parameters) -> None:
        p = self.parameters = parameters
        width, sources = p.random_width, range(p.random_sources)
        self.draw = [_seeded(p.draw_seed, i, width) for i in sources]
        self.update = [_seeded(p.update_seed, i, width) for i in sources]
        self.dropout = [_seeded(p.dropout_seed, 0, width)]
        self.weights: list[list[int]] = []
        self.biases: list[list[int]] = []
        self._row_base = [0]  # indexed by layer l - 1, as is every list of layers here
        self._block_base = [0]
        v = _seeded(p.weight_seed, 0, 32)
        fraction = p.weight_bits - 1
        for inputs, units in zip(p.layers, p.layers[1:], strict=False):
            for block in range(self._blocks(units)):
                self.biases.append([0] * p.lanes)
                for _ in range(inputs):
                    row = [0] * p.lanes
                    for lane in range(min(p.lanes, units - block * p.lanes)):
                        signed = v - 2**32 if v >= 2**31 else v
                        row[lane] = max(signed >> (31 - fraction), -(2**fraction - 1))
                        v = _stepped(v, 32)
                    self.weights.append(row)
            self._row_base.append(len(self.weights))
            self._block_base.append(len(self.biases))

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

    def _lane_bits(self, words: list[int], i: int, bits: int) -> int:
        """Section 4: the random bits of the lane of unit ``i``."""
        lane = i % self.parameters.lanes
        return words[lane % self.parameters.random_sources] >> (self.parameters.random_width - bits)

    def _fraction(self) -> int:
        """Section 5: ``g``, the fraction bits of ``T``."""
        p = self.parameters
        return p.weight_bits - 1 if p.connect == "none" else p.draw_steps - 1

    def _drawn(self, weight: int, g: int, random: int, bits: int) -> int:
        """Section 5: ``T`` with ``g`` fraction bits, from ``bits`` random bits."""
        p = self.parameters
        fraction = p.weight_bits - 1
        q = fraction + 1 if p.connect == "binary" else fraction - g
        r = ((2 * random + 1) << q) >> (bits + 1)
        if p.connect == "binary":
            return 1 if (weight + 2**fraction + r) >> q >= 1 else -1
        return (weight + r) >> q

    def _draw(self, inputs: Sequence[int], layer: int) -> Drawn:
        """Section 6: ``T`` of a layer for some inputs."""
        p = self.parameters
        random = p.draw == "stochastic" and p.connect != "none"
        units = p.layers[layer + 1]
        drawn: Drawn = {}
        for block in range(self._blocks(units)):
            for j in inputs:
                words = self._take(self.draw) if random else [0] * p.random_sources
                for i in range(block * p.lanes, min((block + 1) * p.lanes, units)):
                    row, lane = self._place(layer, i, j)
                    bits = p.draw_bits if random else 0
                    r = self._lane_bits(words, i, bits)
                    drawn[i, j] = self._drawn(self.weights[row][lane], self._fraction(), r, bits)
        return drawn

    def _sums(self, layer: int, drawn: Drawn, h: list[int], g: int) -> list[int]:
        """Section 6: ``z`` of a layer, from its ``T`` of ``g`` fraction bits."""
        z = [
            (self.biases[row][lane] << g) >> self.parameters.bias_fraction_bits
            for row, lane in self._bias_places(layer)
        ]
        for (i, j), t in drawn.items():
            z[i] += t * h[j]
        return z

    def _activation(self, z: int, shift: int) -> int:
        """Section 6: ``h``."""
        maximum = (1 << self.parameters.activation_bits) - 1
        return min((max(z, 0) + (1 << shift) - 1) >> shift, maximum)

    def _output_delta(self, z: list[int], label: int) -> list[int]:
        """Section 7: ``d_L``."""
        p = self.parameters
        shift = p.activation_shifts[-1] + self._fraction()
        margin = 2**p.margin_bits
        delta = [-max(0, margin + (total >> shift)) for total in z]
        delta[label] = max(0, margin - (z[label] >> shift))
        return [_clip(d, 2 ** (p.output_delta_bits - 1) - 1) for d in delta]

    def _hidden_delta(self, layer: int, drawn: Drawn, h: list[int], delta: list[int]) -> list[int]:
        """Section 8: the deltas of the inputs ``h`` of a layer."""
        p = self.parameters
        shift = p.delta_shifts[layer - 1] + self._fraction()
        below = [0] * len(h)
        for (i, j), t in drawn.items():
            below[j] += t * delta[i] if h[j] != 0 else 0
        maximum = 2 ** (p.hidden_delta_bits - 1) - 1
        return [
            _clip((total + _half(shift)) >> shift, maximum) if x else 0
            for total, x in zip(below, h, strict=True)
        ]

    def _factor(self, x: int, random: int) -> int:
        """Section 9: what stands for ``x`` in the update."""
        p = self.parameters
        if x == 0 or p.quantizer == "none":
            return x
        if p.quantizer == "stochastic":
            a = x.bit_length() - 1
            e = (x + random % (1 << a)).bit_length() - 1
        else:
            e = _nearest_exponent(x)
        return 1 << min(e, p.max_exponent) if e >= p.min_exponent else 0

    def _quantizer_bits(self, words: list[int]) -> int:
        """Section 9: ``Q``."""
        return words[0] % (1 << (self.parameters.activation_bits - 1))

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

    def _rounding(self, words: list[int], i: int, k: int) -> int:
        """Section 9: ``r``."""
        bits = self.parameters.update_bits
        return ((2 * self._lane_bits(words, i, bits) + 1) << k) >> (bits + 1)

    def _dropped(self, pixels: Sequence[int], train: bool) -> list[int]:
        """Section 11: input dropout."""
        n, width = self.parameters.input_dropout_bits, self.parameters.random_width
        if n == 0:
            return list(pixels)
        if not train:
            return [x - (x >> n) for x in pixels]
        return [x if self._take(self.dropout)[0] >> (width - n) != 0 else 0 for x in pixels]

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

        # Section 6.
        h = [self._dropped(pixels, train)]
        lists: list[list[int]] = []
        drawn: list[Drawn] = []
        for layer in range(depth):
            lists.append([j for j, x in enumerate(h[layer]) if x != 0])
            drawn.append(self._draw(lists[layer], layer))
            z = self._sums(layer, drawn[layer], h[layer], g)
            h.append([self._activation(total, p.activation_shifts[layer] + g) for total in z])

        # Section 7; z is that of the last layer.
        prediction = z.index(max(z))
        if not train:
            self.draw = draw_before
            return prediction
        deltas = [self._output_delta(z, label)]
        if not any(deltas[0]):
            return prediction

        # Section 8; deltas[0] is always that of the layer reached.
        for layer in range(depth - 1, 0, -1):
            deltas.insert(0, self._hidden_delta(layer, drawn[layer], h[layer], deltas[0]))

        # Section 9.
        for layer in range(depth - 1, -1, -1):
            k = p.update_shifts[layer] + rate_shift
            units = p.layers[layer + 1]
            for block in range(self._blocks(units)):
                for j in lists[layer]:
                    words = self._take(self.update)
                    factor = self._factor(h[layer][j], self._quantizer_bits(words))
                    for i in range(block * p.lanes, min((block + 1) * p.lanes, units)):
                        r = self._rounding(words, i, k)
                        self._update_weight(layer, i, j, deltas[layer][i] * factor, r, k)
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
        h = [[self._dropped(row, True) for row in pixels]]
        drawn: list[Drawn] = []
        for layer in range(depth):
            drawn.append(self._draw(range(p.layers[layer]), layer))
            z = [self._sums(layer, drawn[layer], h[layer][b], g) for b in samples]
            shift = p.activation_shifts[layer] + g
            h.append([[self._activation(total, shift) for total in z[b]] for b in samples])
        predictions = [z[b].index(max(z[b])) for b in samples]
        deltas = [[self._output_delta(z[b], labels[b]) for b in samples]]
        if not any(any(delta) for delta in deltas[0]):
            return predictions
        for layer in range(depth - 1, 0, -1):
            deltas.insert(
                0,
                [
                    self._hidden_delta(layer, drawn[layer], h[layer][b], deltas[0][b])
                    for b in samples
                ],
            )
        for layer in range(depth - 1, -1, -1):
            k = p.update_shifts[layer] + rate_shift
            units, inputs = p.layers[layer + 1], range(p.layers[layer])
            factors = [[0] * p.layers[layer] for _ in samples]
            for b in samples:
                for j in inputs:
                    if h[layer][b][j] != 0:
                        stochastic = p.quantizer == "stochastic"
                        words = self._take(self.update) if stochastic else [0]
                        factors[b][j] = self._factor(h[layer][b][j], self._quantizer_bits(words))
            for block in range(self._blocks(units)):
                for j in inputs:
                    words = self._take(self.update)
                    for i in range(block * p.lanes, min((block + 1) * p.lanes, units)):
                        r = self._rounding(words, i, k)
                        gradient = sum(deltas[layer][b][i] * factors[b][j] for b in samples)
                        self._update_weight(layer, i, j, gradient, r, k)
            total = [sum(deltas[layer][b][i] for b in samples) for i in range(units)]
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
        if rule == "sampled":
            g = self._fraction()
        draw_before = list(self.draw)
        logits = [0] * p.layers[-1]
        for _ in range(draws if rule == "sampled" else 1):
            h = self._dropped(pixels, train=False)
            for layer in range(len(p.layers) - 1):
                live = [j for j, x in enumerate(h) if x != 0]
                if rule == "sampled":
                    drawn = self._draw(live, layer)
                else:
                    drawn = {}
                    for i in range(p.layers[layer + 1]):
                        for j in live:
                            row, lane = self._place(layer, i, j)
                            weight = self.weights[row][lane]
                            drawn[i, j] = weight if whole else self._drawn(weight, g, 0, 0)
                if rule == "pow2":
                    h = [2 ** _nearest_exponent(x) if x != 0 else 0 for x in h]
                z = self._sums(layer, drawn, h, g)
                h = [self._activation(total, p.activation_shifts[layer] + g) for total in z]
            logits = [total + more for total, more in zip(logits, z, strict=True)]
        self.draw = draw_before
        return logits.index(max(logits))

    def digest(self) -> str:
        """Return the SHA-256 of the state, equal to that of :meth:`golden.state.State.digest`."""
        words = [word for rows in (self.weights, self.biases) for row in rows for word in row]
        words += self.draw + self.update + self.dropout
        return hashlib.sha256(
            b"".join((word % 2**64).to_bytes(8, "little") for word in words)
        ).hexdigest()
