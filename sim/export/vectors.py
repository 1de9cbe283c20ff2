"""What the self-checking testbench sends and expects, from the golden model."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from golden.clocked import Clocked
from golden.network import Network
from golden.parameters import Parameters
from golden.state import State
from sim.data import DIGITS_CLASSES, DIGITS_PIXELS, Dataset, load_digits
from sim.export.memories import hex_words
from sim.lockstep import Stimulus, payloads_of
from sim.packets import dense_packets, sparse_packets

#: Seed of the samples where there is no data set.
SEED = 1

#: Share of pixels that are not 0 in samples without a data set.
_LIVE = 0.3


@dataclass(frozen=True, eq=False)
class Vectors:
    """A run of the golden model.

    Attributes:
        parameters: The network and its formats.
        stimulus: The samples: the first three quarters are trained on, the others evaluated.
        source: What they are, in words.
        initial: State before.
        predictions: int64, shape (samples,).
        final: State after.
    """

    parameters: Parameters
    stimulus: Stimulus
    source: str
    initial: State
    predictions: npt.NDArray[np.int64]
    final: State

    @classmethod
    def of(
        cls, parameters: Parameters, state: State, dataset: Dataset | None, samples: int
    ) -> "Vectors":
        """Run the first training samples of a data set.

        Without one these are the UCI digits if they fit the network, and else random.
        """
        p = parameters
        source = "the data set that was given"
        if dataset is None and (p.layers[0], p.layers[-1] >= DIGITS_CLASSES) == (
            DIGITS_PIXELS,
            True,
        ):
            dataset, source = load_digits(p.activation_bits), "the UCI digits"
        if dataset is None:
            source = f"random, seed {SEED}"
            rng = np.random.default_rng(SEED)
            shape = (samples, p.layers[0])
            pixels = rng.integers(1, p.activation_max, shape, np.uint16, endpoint=True)
            pixels[rng.random(shape) >= _LIVE] = 0
            labels = rng.integers(0, p.layers[-1], samples)
        else:
            pixels, labels = dataset.train_pixels[:samples], dataset.train_labels[:samples]
        train = np.arange(samples) < max(1, samples * 3 // 4)
        zeros = np.zeros(samples, np.int64)
        stimulus = Stimulus(pixels, labels, train, rate_shift=zeros, epoch=zeros)
        network = Network(p, state.copy())
        trained = network.train(pixels[train], labels[train]).predictions
        evaluated = network.infer(pixels[~train], "sampled")
        predictions = np.concatenate([trained, evaluated])
        return cls(p, stimulus, source, state, predictions, network.state)

    def clocks(self) -> int:
        """Return the clocks of the bare trainer from reset until it is idle, without stalls."""
        model = Clocked(self.parameters, self.initial)
        model.feed(self.stimulus.stream(self.parameters))
        return model.clocks_until_idle()

    def transfers(self) -> list[int]:
        """Return the payloads of the stream ``samples`` of the bare trainer."""
        rows = payloads_of(self.parameters, self.stimulus.stream(self.parameters))
        return [int.from_bytes(row.tobytes(), "little") for row in rows]

    def packets(self) -> list[int]:
        """Return the beats of the core's packets, every other one sparse.

        TKEEP is above the data, TLAST above both.
        """
        pixels, labels = self.stimulus.pixels, self.stimulus.labels
        bus_bits = self.parameters.bus_bits
        size = bus_bits // 8
        dense = dense_packets(pixels, labels, bus_bits)
        sparse = sparse_packets(pixels, labels, bus_bits)
        beats = []
        for sample in range(len(labels)):
            content = (sparse if sample % 2 else dense)[sample].tobytes()
            for at in range(0, len(content), size):
                data = content[at : at + size]
                keep = (1 << len(data)) - 1
                beats.append(int.from_bytes(data, "little") | keep << bus_bits)
            beats[-1] |= 1 << bus_bits + size
        return beats

    def records(self) -> list[int]:
        """Return the words of the core's records, TLAST above their 32 bits."""
        words = []
        for number, (guess, label, train) in enumerate(self._outcomes()):
            words.append(guess | label << 16)
            words.append(1 << 32 | number << 16 | train << 1 | (guess == label))
        return words

    def payloads_out(self, label_bits: int) -> list[int]:
        """Return the payloads of the stream ``predictions`` of the bare trainer."""
        return [
            guess | label << label_bits | train << 2 * label_bits
            for guess, label, train in self._outcomes()
        ]

    def _outcomes(self) -> list[tuple[int, int, int]]:
        columns = (self.predictions, self.stimulus.labels, self.stimulus.train)
        return list(zip(*(column.astype(int).tolist() for column in columns), strict=True))


def lane_words(array: npt.NDArray[np.integer[Any]], bits: int) -> str:
    """Return rows of weights or biases as words of a memory file, lane 0 lowest."""
    mask = (1 << bits) - 1
    rows = [
        sum((word & mask) << bits * lane for lane, word in enumerate(row)) for row in array.tolist()
    ]
    return hex_words(rows, bits * array.shape[1])
