"""The clocked model against the oracle, and the timing rules of ``docs/architecture.md``."""

from collections import defaultdict

import numpy as np
import numpy.typing as npt
import pytest

from golden.clocked import (
    BACKWARD,
    DONE,
    EXACT,
    FORWARD,
    LOSS,
    SAMPLED,
    Clocked,
    Transfers,
    describe,
    transfers,
)
from golden.inference import RULES
from golden.layout import Layout
from golden.network import Network
from golden.oracle import Oracle
from golden.parameters import Parameters
from golden.probes import probe_columns, probe_table, tree_depth
from golden.state import State
from tests import configurations
from tests.configurations import gateware_parameters

#: Three layers of several blocks each, and lists that are often empty or have one entry.
SHORT_LISTS = Parameters(
    layers=(4, 6, 5, 7),
    lanes=2,
    pixels_per_beat=2,
    activation_shifts=(4, 4, 4),
    delta_shifts=(2, 2),
    update_shifts=(6, 6, 6),
    schedule=(1,),
)


Sample = tuple[tuple[int, ...], int, bool, int] | tuple[tuple[int, ...], int, bool, int, int, int]


def random_samples(parameters: Parameters, seed: int, n: int) -> list[Sample]:
    """Return random (pixels, label, train, rate shift, rule, draws); three of four train."""
    pixels, labels = configurations.random_samples(parameters, seed, n)
    random = np.random.default_rng(seed)
    train = random.random(n) < 0.75
    shifts = random.integers(0, parameters.max_rate_shift, n, endpoint=True)
    columns = (labels, train, shifts, *configurations.random_rules(parameters, seed, n))
    return [
        (tuple(image.tolist()), *(each.item() for each in rest))
        for image, *rest in zip(pixels, *columns, strict=True)
    ]


def column_of(parameters: Parameters) -> dict[str, int]:
    """Return the column of each probe's first word."""
    first: dict[str, int] = {}
    for column, (probe, _, _) in enumerate(probe_columns(probe_table(parameters))):
        first.setdefault(probe.name, column)
    return first


def clocked(parameters: Parameters, samples: list[Sample], sparse: npt.ArrayLike = 0) -> Clocked:
    """Return a clocked model at reset, fed with samples."""
    machine = Clocked(parameters, State.initial(parameters))
    pixels, *columns = zip(*samples, strict=True)
    machine.feed(transfers(parameters, np.array(pixels), *columns, sparse=sparse))
    return machine


def oracle_sample(
    oracle: Oracle,
    pixels: tuple[int, ...],
    label: int,
    train: bool,
    shift: int,
    rule: int = SAMPLED,
    draws: int = 1,
) -> int:
    """Return the oracle's prediction of a sample."""
    if train:
        return oracle.sample(pixels, label, train, shift)
    return oracle.infer(pixels, RULES[rule], draws)


def oracle_run(parameters: Parameters, samples: list[Sample]) -> tuple[list[int], str]:
    """Return the oracle's predictions and the digest of its last state."""
    oracle = Oracle(parameters)
    predictions = [oracle_sample(oracle, *sample) for sample in samples]
    return predictions, oracle.digest()


def play(
    machine: Clocked, samples: int, *, valid: float = 1.0, ready: float = 1.0, seed: int = 0
) -> tuple[np.ndarray, list[int]]:
    """Run until idle with valid and ready of these probabilities; return columns and predictions.

    Three more clocks are run for the last writes, with the columns of these too.
    """
    p = machine.parameters
    at = column_of(p)
    left = len(machine._stream) - machine._taken
    random = np.random.default_rng(seed)
    rows, predictions = [], []
    rest = 3
    while rest:
        in_valid = int(left > 0 and random.random() < valid)
        out_ready = int(random.random() < ready)
        row = machine.run(np.array([in_valid], np.uint8), np.array([out_ready], np.uint8))[0]
        rows.append(row)
        if row[at["out_valid"]] and out_ready:
            predictions.append(int(row[at["out_prediction"]]))
        idle = row[at["state"]] == FORWARD and not row[at["list_open"] : at["list_open"] + 2].any()
        if not left and idle and not row[at["out_valid"]]:
            rest -= 1
        left -= in_valid * int(row[at["in_ready"]])
        assert len(rows) < 20_000 * samples, "the trainer never comes to rest"
    return np.array(rows), predictions


@pytest.mark.parametrize("seed", range(40))
def test_every_sample_equals_the_oracle(seed):
    parameters = gateware_parameters(seed)
    samples = random_samples(parameters, seed, 6)
    machine = Clocked(parameters, State.initial(parameters))
    oracle = Oracle(parameters)
    for number, (pixels, label, *settings) in enumerate(samples):
        pixel_row = np.array([pixels])
        machine.feed(transfers(parameters, pixel_row, [label], *settings, sparse=number % 2))
        columns, predictions = play(machine, 1)
        assert predictions == [oracle_sample(oracle, pixels, label, *settings)]
        assert columns[-1, column_of(parameters)["samples"]] == number + 1
        assert machine.state.digest() == oracle.digest()


@pytest.mark.parametrize("seed", range(40))
def test_random_stalls_change_nothing_but_the_clocks(seed):
    parameters = gateware_parameters(seed)
    samples = random_samples(parameters, seed, 5)
    predictions, digest = oracle_run(parameters, samples)
    sparse = [0, 1, 1, 0, 1]
    clocks = clocked(parameters, samples, sparse).clocks_until_idle()
    taken = []
    for valid, ready in ((1.0, 1.0), (0.5, 0.5), (0.05, 0.7), (0.9, 0.02)):
        machine = clocked(parameters, samples, sparse)
        columns, found = play(machine, len(samples), valid=valid, ready=ready, seed=seed)
        assert found == predictions
        assert machine.state.digest() == digest
        taken.append(len(columns) - 3)
    assert taken[0] == min(taken) == clocks < max(taken)


@pytest.mark.parametrize("seed", range(40))
def test_every_register_stays_within_its_format(seed):
    parameters = gateware_parameters(seed)
    samples = random_samples(parameters, seed, 5)
    columns, _ = play(clocked(parameters, samples), len(samples))
    for column, (probe, _, _) in enumerate(probe_columns(probe_table(parameters))):
        if probe.bits == 64:
            continue
        low = -(1 << (probe.bits - 1)) if probe.signed else 0
        assert low <= columns[:, column].min(), probe.name
        assert columns[:, column].max() < low + (1 << probe.bits), probe.name


def test_digits_equal_the_functional_model():
    parameters = Parameters.named("digits").replace(schedule=(1, 2), inference="exact")
    network = Network(parameters)
    machine = Clocked(parameters, State.initial(parameters))
    for pixels, label, train, shift, rule, draws in random_samples(parameters, 7, 60):
        image, labels = np.array([pixels]), np.array([label])
        machine.feed(transfers(parameters, image, labels, train, shift, rule, draws))
        _, predictions = play(machine, 1)
        if train:
            assert predictions == network.train(image, labels, shift).predictions.tolist()
        else:
            passes = draws if rule == SAMPLED else 1
            assert predictions == network.infer(image, RULES[rule], passes).tolist()
        assert machine.state == network.state


def test_pieces_and_a_buffer_of_any_length_give_the_same_clocks():
    samples = random_samples(SHORT_LISTS, 3, 8)
    whole, _ = play(clocked(SHORT_LISTS, samples), len(samples))
    at = column_of(SHORT_LISTS)
    beats = len(samples) * 2
    taken = np.cumsum(whole[:, at["in_ready"]])
    in_valid = (taken - whole[:, at["in_ready"]] < beats).astype(np.uint8)
    machine = clocked(SHORT_LISTS, samples)
    buffer = machine.buffer(50)
    pieces, start = [], 0
    for length in [0, 1, 7, 50, 33] * len(whole):
        end = min(start + length, len(whole))
        valid = in_valid[start:end]
        pieces.append(machine.run(valid, np.ones_like(valid), buffer).copy())
        start = end
    assert np.array_equal(np.concatenate(pieces), whole)
    assert machine.clock == len(whole)


def test_a_blank_image_takes_these_clocks():
    """One pixel, one unit, one lane: every clock by hand from the architecture page."""
    parameters = Parameters(
        layers=(1, 1),
        lanes=1,
        pixels_per_beat=1,
        activation_shifts=(0,),
        delta_shifts=(),
        update_shifts=(4,),
    )
    machine = clocked(parameters, [((0,), 0, True, 0)])
    columns, predictions = play(machine, 1)
    at = column_of(parameters)

    def clocks(name: str) -> list[int]:
        return np.flatnonzero(columns[:, at[name]]).tolist()

    assert predictions == [0]
    # Taken in clock 0; an all-zero word costs one clock.
    assert clocks("load_valid") == [1]
    assert clocks("list_open") == list(range(1, 23))
    assert clocks("list_closed") == list(range(2, 23))
    # End steps issued in clocks 2 (forward) and 16 (backward), seen two clocks later.
    assert clocks("entry_end") == [4, 18]
    assert clocks("pending") == list(range(3, 11))
    assert clocks("drain_busy") == [10]
    assert clocks("e4_valid") == clocks("e4_fin") == [14]
    assert clocks("loss_done") == list(range(15, 23))
    assert clocks("out_valid") == [16]
    assert columns[:, at["state"]].tolist() == (
        [FORWARD] * 3 + [LOSS] * 13 + [BACKWARD] + [3] * 5 + [DONE] + [FORWARD] * 3
    )
    assert columns[16:23, at["settle"]].tolist() == [0, 4, 3, 2, 1, 0, 0]
    # d = M = 64, of which the bias learns a half (bias_shift 1), written at b3; b0 is e4's clock.
    assert columns[[16, 17], at["new_bias"]].tolist() == [0, 32]
    assert not columns[:, at["increment"]].any()
    assert machine.state.biases.tolist() == [[32]]
    assert len(columns) - 3 == 23
    assert clocked(parameters, [((0,), 0, True, 0)]).clocks_until_idle() == 23


def test_one_entry_takes_these_clocks():
    """The same with one pixel that is not 0, and every register of its two steps."""
    parameters = Parameters(
        layers=(1, 1),
        lanes=1,
        pixels_per_beat=1,
        activation_shifts=(0,),
        delta_shifts=(),
        update_shifts=(4,),
        draw="deterministic",
    )
    state = State.initial(parameters)
    state.weights[0, 0] = 100
    word = int(state.update[0])
    machine = Clocked(parameters, state)
    machine.feed(transfers(parameters, [[3]], [0], 1, 0))
    columns, _ = play(machine, 1)
    at = column_of(parameters)

    def changes(name: str) -> list[tuple[int, int]]:
        """Return (clock, new value) of each change, the reset included."""
        values = columns[:, at[name]]
        clocks = [0, *(np.flatnonzero(np.diff(values)) + 1)]
        return [(int(clock), int(values[clock])) for clock in clocks]

    # An entry is issued in clock 2 and an end in clock 3; backward in clocks 17 and 18.
    assert changes("list_count") == [(0, 0), (2, 1), (25, 0)]
    assert changes("position") == [(0, 0), (3, 1), (4, 0), (18, 1), (19, 0)]
    assert changes("first") == [(0, 1), (3, 0), (4, 1), (18, 0), (19, 1)]
    assert changes("gap") == [(0, 0), (18, 3), (19, 2), (20, 1), (21, 0)]
    assert changes("settle") == [(0, 0), (19, 4), (20, 3), (21, 2), (22, 1), (23, 0)]
    assert changes("state") == [(0, 0), (4, 1), (17, 2), (19, 3), (24, 4), (25, 0)]
    assert changes("entry_valid") == [(0, 0), (4, 1), (5, 0), (19, 1), (20, 0)]
    assert changes("entry_end") == [(0, 0), (5, 1), (6, 0), (20, 1), (21, 0)]
    assert changes("entry_value") == [(0, 0), (4, 3), (5, 0), (19, 3), (20, 0)]
    # row_base is 1 behind the only block, in clocks 4..16 and 19..24: three clocks later here.
    assert changes("weight_row") == [(0, 0), (7, 1), (20, 0), (22, 1)]
    assert changes("weight") == [(0, 0), (8, 100)]
    assert changes("draw") == [(0, 0), (8, 1)]
    assert changes("accumulator") == [(0, 0), (9, 3)]
    # The end step is at s7 in clock 10.
    assert changes("drain_busy") == [(0, 0), (11, 1), (12, 0)]
    assert changes("pending") == [(0, 0), (4, 1), (12, 0)]
    assert changes("drain_sum") == [(0, 0), (13, 3)]
    assert changes("logit_sum") == [(0, 0), (15, 3)]
    assert changes("best_sum") == [(0, 0), (16, 3)]
    assert changes("e4_valid") == changes("e4_fin") == [(0, 0), (15, 1), (16, 0)]
    assert changes("output_delta") == [(0, 0), (15, 61)]
    assert changes("loss_any") == changes("loss_done") == [(0, 0), (16, 1), (25, 0)]
    assert changes("out_valid") == [(0, 0), (17, 1), (18, 0)]
    assert len(changes("draw_state")) == 1
    assert [clock for clock, _ in changes("update_state")] == [0, 22]
    assert changes("exponent") == [(0, 0), (22, 2)]
    assert changes("delta") == [(0, 0), (23, 61)]
    increment = ((61 << 2) + (((2 * (word >> 24) + 1) << 4) >> 9)) >> 4
    assert changes("increment") == [(0, 0), (25, increment)]
    assert changes("new_weight") == [(0, 0), (26, 100 + increment)]
    assert changes("new_bias") == [(0, 0), (18, 31)]
    assert machine.state.weights.tolist() == [[100 + increment]]
    assert machine.state.biases.tolist() == [[31]]


@pytest.mark.parametrize("pixels", [(0, 0, 0, 0), (0, 0, 9, 0), (255, 0, 0, 1)])
def test_blank_images_and_short_lists(pixels):
    samples = [(pixels, label, True, 0) for label in (0, 6, 3, 3, 3, 1, 6, 0, 5, 5)]
    predictions, digest = oracle_run(SHORT_LISTS, samples)
    machine = clocked(SHORT_LISTS, samples)
    columns, found = play(machine, len(samples))
    assert found == predictions
    assert machine.state.digest() == digest
    assert columns[:, column_of(SHORT_LISTS)["gap"]].max() == 3


@pytest.mark.parametrize("seed", range(10))
def test_evaluation_leaves_no_trace(seed):
    parameters = gateware_parameters(seed)
    samples = [
        (pixels, label, False, *settings)
        for pixels, label, _, *settings in random_samples(parameters, seed, 5)
    ]
    machine = clocked(parameters, samples)
    _, predictions = play(machine, len(samples), valid=0.8, ready=0.8, seed=seed)
    assert predictions == oracle_run(parameters, samples)[0]
    assert machine.state == State.initial(parameters)


@pytest.mark.parametrize("seed", range(10))
def test_back_pressure_stops_the_trainer_and_loses_nothing(seed):
    parameters = gateware_parameters(seed)
    samples = random_samples(parameters, seed, 6)
    predictions, digest = oracle_run(parameters, samples)
    at = column_of(parameters)
    machine = clocked(parameters, samples)
    # Never ready: the first prediction waits, the second sample stops in LOSS, two more are loaded.
    stuck = machine.run(np.ones(20_000, np.uint8), np.zeros(20_000, np.uint8))
    assert stuck[-1, at["out_valid"]] == 1
    assert stuck[-1, at["out_prediction"]] == predictions[0]
    assert stuck[-1, at["samples"]] == 1
    assert stuck[-1, at["state"]] == LOSS
    assert stuck[-1, at["in_ready"]] == 0
    assert np.array_equal(stuck[-1], stuck[-2])
    beats = -(-parameters.layers[0] // parameters.pixels_per_beat)
    assert int(stuck[:, at["in_ready"]].sum()) == 3 * beats
    machine.clocks_until_idle()
    assert machine.state.digest() == digest


# Hazards: no word may be read again between the read that its new value is made of and its write.


def steps_of(parameters: Parameters, columns: np.ndarray) -> list[dict[str, int]]:
    """Return the steps issued, from the walker's registers and the list registers of s2."""
    at = column_of(parameters)
    walker = ("state", "layer", "block", "position", "first")
    steps = []
    for clock in np.flatnonzero(columns[:, at["entry_valid"]] | columns[:, at["entry_end"]]):
        step = {name: int(columns[clock - 2, at[name]]) for name in walker}
        step["issue"] = int(clock) - 2
        step["entry"] = int(columns[clock, at["entry_valid"]])
        step["column"] = int(columns[clock, at["entry_index"]])
        steps.append(step)
    return steps


def hazards(parameters: Parameters, columns: np.ndarray) -> tuple[list[str], int]:
    """Return the reads that come too early, and the number of reads that were looked at.

    From section 2 and the stages of section 6: a read in clock ``r`` sees the writes of the clocks
    before ``r``. A word is *open* from the clock in which its old value was read, or its making
    began, to that of its write.
    """
    at, layout, tree = column_of(parameters), Layout.of(parameters), tree_depth(parameters.lanes)
    reads, opened = defaultdict(list), defaultdict(list)
    ends, updated = [], []
    for step in steps_of(parameters, columns):
        issue, layer, entry = step["issue"], step["layer"], step["entry"]
        block_row = layout.block_base[layer] + step["block"]
        inputs = parameters.layers[layer]
        weight_row = layout.row_base[layer] + step["block"] * inputs + step["column"]
        if entry:
            reads["weight", weight_row].append(issue + 3)
        if step["state"] == FORWARD:
            if step["first"]:
                reads["bias", block_row].append(issue + 4)
            if not entry:
                ends.append((issue, layer, block_row))
            continue
        if not entry:
            continue
        reads["delta", block_row].append(issue + 3)
        opened["weight", weight_row].append((issue + 3, issue + 9))
        if layer > 0:
            if step["block"] > 0:
                reads["scratch", step["position"]].append(issue + 5 + tree)
            opened["scratch", step["position"]].append((issue + 5 + tree, issue + 8 + tree))
            if step["block"] == layout.blocks[layer] - 1:
                row = layout.block_base[layer - 1] + step["column"] // parameters.lanes
                opened["delta", row].append((issue, issue + 9 + tree))
                updated.append((issue + 9 + tree, row, step["column"]))
    for clock in np.flatnonzero(columns[:, at["e4_valid"]]):
        # The earliest e4 of a block is twelve clocks behind its end step.
        issue, layer, block_row = [end for end in ends if end[0] + 12 <= clock][-1]
        if layer == parameters.depth - 1:
            opened["delta", block_row].append((issue, int(clock)))
            updated.append((int(clock), block_row, int(columns[clock, at["drain_index"]])))
    for clock, row, unit in updated:
        reads["one bias", (row, unit)].append(clock)
        opened["one bias", (row, unit)].append((clock, clock + 3))
        opened["bias", row].append((clock, clock + 3))
    found = [
        f"{word} is read in clock {read}, but open in {start}..{end}"
        for word, spans in opened.items()
        for start, end in spans
        for read in reads[word]
        if start < read <= end
    ]
    return found, sum(len(clocks) for clocks in reads.values())


@pytest.mark.parametrize("seed", range(40))
def test_no_word_is_read_while_it_is_open(seed):
    parameters = gateware_parameters(seed)
    samples = random_samples(parameters, seed, 5)
    columns, _ = play(clocked(parameters, samples, [1, 0, 1, 0, 1]), len(samples))
    found, looked_at = hazards(parameters, columns)
    assert not found
    assert looked_at > 0


#: Hidden layers of one block: the last delta written is in the first row that is read.
ONE_BLOCK = SHORT_LISTS.replace(layers=(4, 2, 2, 7))


def planted(parameters: Parameters, **fault: int) -> tuple[list[str], bool]:
    """Return the hazards of a machine with shorter waits, and whether its state is the oracle's."""
    samples = random_samples(parameters, 11, 40)
    machine = clocked(parameters, samples)
    machine._constants = machine._constants._replace(**fault)
    columns, _ = play(machine, len(samples))
    found, _ = hazards(parameters, columns)
    return found, machine.state.digest() == oracle_run(parameters, samples)[1]


@pytest.mark.parametrize("parameters", [SHORT_LISTS, ONE_BLOCK])
def test_the_waits_are_enough(parameters):
    assert planted(parameters) == ([], True)


@pytest.mark.parametrize("gap", [0, 1, 2])
def test_a_shorter_gap_is_a_hazard_on_the_scratch_memory(gap):
    found, equal = planted(SHORT_LISTS, gap=gap)
    assert found
    assert all("scratch" in hazard for hazard in found)
    assert not equal


@pytest.mark.parametrize("settle", [0, 3 + tree_depth(ONE_BLOCK.lanes)])
def test_a_shorter_settle_is_a_hazard_on_the_delta_memory(settle):
    found, equal = planted(ONE_BLOCK, settle=settle)
    assert any("delta" in hazard for hazard in found)
    assert not equal


@pytest.mark.parametrize("seed", range(20))
def test_the_backward_pass_draws_what_the_forward_pass_drew(seed):
    parameters = gateware_parameters(seed)
    samples = random_samples(parameters, seed, 5)
    columns, _ = play(clocked(parameters, samples), len(samples))
    check_draws(parameters, columns)


def test_an_empty_list_saves_and_restores_the_draws():
    """A blank image, and biases that keep hidden units alive: layer 1 draws nothing, 2 and 3 do."""
    state = State.initial(SHORT_LISTS)
    state.biases[: Layout.of(SHORT_LISTS).block_base[1]] = 10_000
    machine = Clocked(SHORT_LISTS, state)
    machine.feed(transfers(SHORT_LISTS, np.zeros((3, 4)), [0, 1, 2], 1, 0))
    columns, _ = play(machine, 3)
    empty = check_draws(SHORT_LISTS, columns)
    assert empty > 0


def check_draws(parameters: Parameters, columns: np.ndarray) -> int:
    """Compare the draws and the state of DRAW between the two passes, for each step of each sample.

    Returns:
        The number of layers that were entered backward with an empty list.
    """
    at = column_of(parameters)
    sources = slice(at["draw_state"], at["draw_state"] + parameters.random_sources)
    lanes = slice(at["draw"], at["draw"] + parameters.lanes)
    forward, empty = {}, 0
    for step in steps_of(parameters, columns):
        issue, layer = step["issue"], step["layer"]
        place = (columns[issue, at["samples"]], layer, step["block"], step["position"])
        # A backward step that restores does so in the clock of its s4: it is seen after it.
        before, after = columns[issue + 4, sources], columns[issue + 5, sources]
        drawn = columns[issue + 6, lanes]
        if step["state"] == FORWARD:
            forward[place] = before, after, drawn
            continue
        restores = step["first"] and step["block"] == 0
        assert restores or np.array_equal(before, forward[place][0])
        assert np.array_equal(after, forward[place][1])
        assert not step["entry"] or np.array_equal(drawn, forward[place][2])
        empty += restores and not step["entry"]
    return empty


# The place of a word.


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_describe_names_the_planted_weight(layer):
    """A wrong word in the weight memory is first seen at s6 of the step that reads it."""
    layout = Layout.of(SHORT_LISTS)
    samples = random_samples(SHORT_LISTS, 5, 10)
    block, lane = layout.blocks[layer] - 1, 0
    planted_faults = 0
    for j in range(SHORT_LISTS.layers[layer]):
        good, bad = clocked(SHORT_LISTS, samples), clocked(SHORT_LISTS, samples)
        row = layout.row_base[layer] + block * SHORT_LISTS.layers[layer] + j
        bad._memories.weights[row, lane] ^= 1
        expected, _ = play(good, len(samples))
        got, _ = play(bad, len(samples))
        clocks = min(len(expected), len(got))
        differing = np.argwhere(expected[:clocks] != got[:clocks])
        if not len(differing):
            continue
        clock, column = (int(n) for n in differing[0])
        place = describe(SHORT_LISTS, got[clock - 20 : clock + 1], 20, column)
        assert place == describe(SHORT_LISTS, got, clock, column)
        assert place.probe.name == "weight"
        assert place.phase == "FORWARD"
        assert (place.layer, place.block, place.column) == (layer + 1, block, j)
        assert (place.lane, place.step) == (lane, "entry")
        assert place.sample == expected[clock - 6, column_of(SHORT_LISTS)["samples"]]
        planted_faults += 1
    assert planted_faults > 0


def test_describe_reads_as_a_sentence():
    columns, _ = play(clocked(SHORT_LISTS, [((9, 0, 5, 0), 1, True, 0)]), 1)
    at = column_of(SHORT_LISTS)
    clock = int(np.flatnonzero(columns[:, at["entry_valid"]])[1]) + 4
    place = describe(SHORT_LISTS, columns, clock, at["draw"] + 1)
    assert str(place) == (
        "sample 0, FORWARD, layer 1, block 0, entry at position 1, column 2, lane 1: draw"
    )
    clock = int(np.flatnonzero(columns[:, at["entry_end"]])[0]) + 5
    place = describe(SHORT_LISTS, columns, clock, at["accumulator"])
    assert str(place) == (
        "sample 0, FORWARD, layer 1, block 0, end at position 2, lane 0: accumulator"
    )
    assert str(describe(SHORT_LISTS, columns, 0, at["list_open"] + 1)) == (
        "sample 0, FORWARD, layer 1, block 0: list_open[1]"
    )
    assert describe(SHORT_LISTS, columns, 1, at["weight"]).step == "bubble"


# Bad input.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pixels": np.zeros((2, 3))}, r"pixels must have the shape \(n, 4\), not \(2, 3\)"),
        ({"pixels": np.full((2, 4), 256)}, r"pixels must be in 0\.\.255, not 256\.\.256"),
        ({"pixels": np.full((2, 4), -1)}, r"pixels must be in 0\.\.255, not -1\.\.-1"),
        ({"labels": [0, 7]}, r"labels must be in 0\.\.6, not 0\.\.7"),
        ({"labels": [0]}, r"labels must have one entry a sample, 2, not \(1,\)"),
        ({"train": [1, 2]}, r"train must be in 0\.\.1, not 1\.\.2"),
        ({"rate_shift": 2}, r"rate_shift must be in 0\.\.1, not 2\.\.2"),
        ({"rule": EXACT}, r"rule must be in 0\.\.1, not 2\.\.2"),
        ({"draws": [0, 1]}, r"draws must be in 1\.\.256, not 0\.\.1"),
        ({"draws": 257}, r"draws must be in 1\.\.256, not 257\.\.257"),
    ],
)
def test_transfers_of_bad_samples(changes, message):
    samples = {"pixels": np.zeros((2, 4)), "labels": [0, 1], "train": 1, "rate_shift": 0}
    with pytest.raises(ValueError, match=message):
        transfers(SHORT_LISTS, **(samples | changes))


def test_transfers_pad_the_last_beat():
    parameters = SHORT_LISTS.replace(pixels_per_beat=3)
    cut = transfers(parameters, [[1, 2, 3, 4], [5, 6, 7, 8]], [1, 6], [1, 0], [0, 1])
    assert cut.pixels.tolist() == [[1, 2, 3], [4, 0, 0], [5, 6, 7], [8, 0, 0]]
    assert cut.label.tolist() == [1, 1, 6, 6]
    assert cut.train.tolist() == [1, 1, 0, 0]
    assert cut.shift.tolist() == [0, 0, 1, 1]
    assert cut.first.tolist() == [0, 3, 0, 3]
    assert cut.last.tolist() == [0, 1, 0, 1]
    assert len(cut) == 4


def test_transfers_of_sparse_samples():
    """One for each pixel that is not 0, one of zeros for a blank image; dense ones between."""
    parameters = SHORT_LISTS.replace(pixels_per_beat=3)
    images = [[0, 2, 0, 4], [5, 0, 0, 0], [0, 0, 0, 0], [0, 0, 3, 0]]
    cut = transfers(
        parameters, images, [1, 6, 2, 3], [1, 0, 1, 1], [0, 1, 0, 1], sparse=[1, 0, 1, 1]
    )
    assert cut.pixels.tolist() == [
        [2, 0, 0], [4, 0, 0], [5, 0, 0], [0, 0, 0], [0, 0, 0], [3, 0, 0]
    ]  # fmt: skip
    assert cut.first.tolist() == [1, 3, 0, 3, 0, 2]
    assert cut.last.tolist() == [0, 1, 0, 1, 1, 1]
    assert cut.label.tolist() == [1, 1, 6, 6, 2, 3]
    assert cut.train.tolist() == [1, 1, 0, 0, 1, 1]
    assert cut.shift.tolist() == [0, 0, 1, 1, 0, 1]


def test_sparse_words_hide_the_zeros():
    """A dense word of zeros costs a clock, a sparse sample has none of them."""
    parameters = SHORT_LISTS.replace(layers=(40, 2, 2, 2), pixels_per_beat=1)
    image = [0] * 39 + [7]
    dense, sparse = (
        clocked(parameters, [(tuple(image), 1, True, 0)], kind).clocks_until_idle()
        for kind in (0, 1)
    )
    assert dense - sparse == 39


def test_pixels_beyond_the_last_are_ignored():
    parameters = SHORT_LISTS.replace(pixels_per_beat=3)
    cut = transfers(parameters, [[1, 2, 3, 4], [5, 0, 0, 0]], [1, 6], 1, 0)
    clean, dirty = (Clocked(parameters, State.initial(parameters)) for _ in range(2))
    clean.feed(cut)
    cut.pixels[1::2, 1:] = 99
    dirty.feed(cut)
    assert np.array_equal(play(clean, 2)[0], play(dirty, 2)[0])


def test_a_stream_that_runs_dry():
    machine = clocked(SHORT_LISTS, [((0, 0, 0, 0), 1, True, 0)])
    ones = np.ones(50, np.uint8)
    with pytest.raises(ValueError, match="in_valid and in_ready are 1 in clock 3, but"):
        machine.run(ones, ones)
    assert machine.clock == 3


def test_bad_arguments_of_run_and_feed():
    machine = clocked(SHORT_LISTS, [((0, 0, 0, 0), 1, True, 0)])
    zeros = np.zeros(4, np.uint8)
    with pytest.raises(ValueError, match="in_valid has 4 clocks, but out_ready has 3"):
        machine.run(zeros, zeros[:3])
    with pytest.raises(ValueError, match="the buffer holds 3 clocks, but 4 are to be run"):
        machine.run(zeros, zeros, machine.buffer(3))
    wide = transfers(SHORT_LISTS.replace(pixels_per_beat=3), [[0, 0, 0, 0]], [0], 1, 0)
    with pytest.raises(ValueError, match="transfers need 2 pixels each"):
        machine.feed(wide)


def test_a_state_of_another_network():
    with pytest.raises(ValueError, match=r"state\.weights must be"):
        Clocked(SHORT_LISTS, State.initial(SHORT_LISTS.replace(lanes=3)))


def test_a_stream_that_ends_inside_a_sample():
    machine = clocked(SHORT_LISTS, [((0, 0, 0, 0), 1, True, 0)])
    one = np.ones(1, np.uint8)
    machine.run(one, one)
    whole = transfers(SHORT_LISTS, [[1, 2, 3, 4]], [0], 1, 0)
    machine.feed(Transfers(**{name: words[:1] for name, words in vars(whole).items()}))
    machine.feed(Transfers(**{name: words[:1] for name, words in vars(whole).items()}))
    with pytest.raises(ValueError, match="the stream ends inside a sample: feed the rest"):
        machine.clocks_until_idle()
