"""The oracle: the contract once more, in plain Python integers and as naively as can be.

Written from ``docs/arithmetic.md`` alone and sharing nothing with the rest of the package but the
parameters, so that a slip in the fast models shows as a difference. Section numbers are those of
the contract. Very slow: for networks of some dozen units.
"""

import hashlib
from collections.abc import Sequence

from golden.parameters import Parameters


def _clip(value: int, maximum: int) -> int:
    """Section 1."""
    return min(max(value, -maximum), maximum)


def _half(shift: int) -> int:
    """Sections 8 and 9."""
    return 0 if shift == 0 else 2 ** (shift - 1)


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

    def _drawn(self, weight: int, random: int) -> int:
        """Section 5: ``T``."""
        p = self.parameters
        fraction, g = p.weight_bits - 1, p.draw_steps - 1
        q = fraction - g if p.connect == "ternary" else fraction + 1
        bits = p.draw_bits if p.draw == "stochastic" else 0
        r = ((2 * random + 1) << q) >> (bits + 1)
        if p.connect == "ternary":
            return (weight + r) >> q
        return 1 if (weight + 2**fraction + r) >> q >= 1 else -1

    def _activation(self, z: int, shift: int) -> int:
        """Section 6: ``h``."""
        maximum = (1 << self.parameters.activation_bits) - 1
        return min((max(z, 0) + (1 << shift) - 1) >> shift, maximum)

    def _exponent(self, x: int, random: int) -> int:
        """Section 9: ``quantize``."""
        a = x.bit_length() - 1
        if self.parameters.quantizer == "stochastic":
            return (x + random % (1 << a)).bit_length() - 1
        return a + (x >> (a - 1)) % 2 if a > 0 else 0

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
        g, fb = p.draw_steps - 1, p.bias_fraction_bits
        depth = len(p.layers) - 1
        draw_before = list(self.draw)

        # Section 6.
        h = [self._dropped(pixels, train)]
        lists: list[list[int]] = []
        drawn: list[dict[tuple[int, int], int]] = []
        for layer in range(depth):
            units = p.layers[layer + 1]
            z = [self.biases[row][lane] >> (fb - g) for row, lane in self._bias_places(layer)]
            lists.append([j for j, x in enumerate(h[layer]) if x != 0])
            drawn.append({})
            for block in range(self._blocks(units)):
                for j in lists[layer]:
                    words = [0] * p.random_sources
                    if p.draw == "stochastic":
                        words = self._take(self.draw)
                    for i in range(block * p.lanes, min((block + 1) * p.lanes, units)):
                        row, lane = self._place(layer, i, j)
                        random = self._lane_bits(words, i, p.draw_bits)
                        t = self._drawn(self.weights[row][lane], random)
                        drawn[layer][i, j] = t
                        z[i] += t * h[layer][j]
            shift = p.activation_shifts[layer] + g
            h.append([self._activation(total, shift) for total in z])

        # Section 7; z and shift are those of the last layer.
        prediction = z.index(max(z))
        if not train:
            self.draw = draw_before
            return prediction
        margin = 2**p.margin_bits
        delta = [-max(0, margin + (total >> shift)) for total in z]
        delta[label] = max(0, margin - (z[label] >> shift))
        deltas = [[_clip(d, 2 ** (p.output_delta_bits - 1) - 1) for d in delta]]
        if not any(deltas[0]):
            return prediction

        # Section 8; deltas[0] is always that of the layer reached.
        for layer in range(depth - 1, 0, -1):
            shift = p.delta_shifts[layer - 1] + g
            below = [0] * p.layers[layer]
            for j in lists[layer]:
                partial = sum(drawn[layer][i, j] * d for i, d in enumerate(deltas[0]))
                maximum = 2 ** (p.hidden_delta_bits - 1) - 1
                below[j] = _clip((partial + _half(shift)) >> shift, maximum)
            deltas.insert(0, below)

        # Section 9.
        for layer in range(depth - 1, -1, -1):
            k = p.update_shifts[layer] + rate_shift
            units = p.layers[layer + 1]
            for block in range(self._blocks(units)):
                for j in lists[layer]:
                    words = self._take(self.update)
                    e = self._exponent(h[layer][j], words[0] % 2 ** (p.activation_bits - 1))
                    for i in range(block * p.lanes, min((block + 1) * p.lanes, units)):
                        row, lane = self._place(layer, i, j)
                        random = self._lane_bits(words, i, p.update_bits)
                        r = ((2 * random + 1) << k) >> (p.update_bits + 1)
                        weight = self.weights[row][lane] + (((deltas[layer][i] << e) + r) >> k)
                        self.weights[row][lane] = _clip(weight, 2 ** (p.weight_bits - 1) - 1)
            shift = p.bias_shift + rate_shift
            for d, (row, lane) in zip(deltas[layer], self._bias_places(layer), strict=True):
                bias = self.biases[row][lane] + ((d + _half(shift)) >> shift)
                self.biases[row][lane] = _clip(bias, 2 ** (p.bias_bits - 1) - 1)
        return prediction

    def infer_exact(self, pixels: Sequence[int]) -> int:
        """Return the prediction of the weights themselves, without draws (section 11)."""
        p = self.parameters
        fraction = p.weight_bits - 1
        h = self._dropped(pixels, train=False)
        for layer in range(len(p.layers) - 1):
            z = []
            for i, (bias_row, bias_lane) in enumerate(self._bias_places(layer)):
                total = (self.biases[bias_row][bias_lane] << fraction) >> p.bias_fraction_bits
                for j, x in enumerate(h):
                    row, lane = self._place(layer, i, j)
                    total += self.weights[row][lane] * x
                z.append(total)
            h = [self._activation(total, p.activation_shifts[layer] + fraction) for total in z]
        return z.index(max(z))

    def digest(self) -> str:
        """Return the SHA-256 of the state, equal to that of :meth:`golden.state.State.digest`."""
        words = [word for rows in (self.weights, self.biases) for row in rows for word in row]
        words += self.draw + self.update + self.dropout
        return hashlib.sha256(
            b"".join((word % 2**64).to_bytes(8, "little") for word in words)
        ).hexdigest()
