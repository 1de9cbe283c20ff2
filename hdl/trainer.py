"""The trainer: memories, lanes and pipeline around the walker, loader and drain."""

from amaranth.hdl import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.formats import unsigned_bits
from golden.layout import Layout
from golden.parameters import Parameters
from golden.probes import probe_table
from golden.state import State
from hdl.backward import Backward
from hdl.drain import Drain
from hdl.gradient import ShiftAmount
from hdl.lane import Lane
from hdl.loader import Loader
from hdl.quantize import Quantize
from hdl.random_source import RandomSource
from hdl.shapes import (
    constant,
    delta_shape,
    depth_of,
    hidden_entry_shape,
    input_entry_shape,
    lanes_of,
    prediction_shape,
    sample_shape,
    step_shape,
    words,
)
from hdl.walker import Walker


class Trainer(wiring.Component):
    """Train and evaluate a network online, one sample after the other (``docs/architecture.md``).

    Args:
        parameters: The network and its formats.
        state: What memories and random sources hold after configuration.
        probed: Have the port ``probes``.

    Raises:
        ParameterError: If the parameters ask for what the gateware does not do.

    Attributes:
        samples: Pixels, label, mode and learning-rate shift, ``ceil(n_0 / pixels_per_beat)``
            transfers a sample.
        predictions: One record a sample.
        sample_count: Samples done since reset, modulo ``2**32``.
        idle: No sample is in hand or on its way, no prediction waits, and every write has landed.
        probes: The registers of the probe table (``golden.probes``), packed: for the lockstep.
    """

    def __init__(self, parameters: Parameters, state: State, *, probed: bool = False) -> None:
        parameters.check_gateware()
        self._p = parameters
        self._state = state
        self._table = probe_table(parameters) if probed else []
        members = {
            "samples": In(stream.Signature(sample_shape(parameters))),
            "predictions": Out(stream.Signature(prediction_shape(parameters))),
            "sample_count": Out(32),
            "idle": Out(1),
        }
        if probed:
            members["probes"] = Out(sum(probe.bits * probe.words for probe in self._table))
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self._p
        layout = Layout.of(p)
        weight_shape = lanes_of(p, signed(p.weight_bits))
        bias_shape = lanes_of(p, signed(p.bias_bits))
        deltas_shape = lanes_of(p, delta_shape(p))

        m.submodules.loader = loader = Loader(p, int(self._state.dropout[0]))
        m.submodules.walker = walker = Walker(p)
        m.submodules.drain = drain = Drain(p)
        wiring.connect(m, wiring.flipped(self.samples), loader.samples)

        # steps[i] is the step at stage s(i); entries[i] its list word, from s2 on.
        steps = [walker.step]
        for stage in range(1, 10):
            step = Signal(step_shape(p), name=f"step{stage}")
            m.d.sync += step.eq(steps[-1])
            steps.append(step)

        entry_shape = input_entry_shape(p) if p.depth == 1 else hidden_entry_shape(p)
        index_bits = unsigned_bits(max(p.layers[:-1]) - 1)
        indices = {i: Signal(index_bits, name=f"index{i}") for i in (2,)}
        values = {i: Signal(p.activation_bits, name=f"value{i}") for i in range(2, 7)}

        # The walker reads the list of the layer in hand.
        count, closed = (
            words(loader.count)[walker.buffer],
            loader.closed.bit_select(walker.buffer, 1),
        )
        address = Mux(walker.buffer, p.layers[0], 0) + walker.position
        m.d.comb += loader.read_address.eq(address)
        word_index, word_value = loader.read_entry.index, loader.read_entry.value
        if p.depth > 1:
            from_input = walker.layer == 0
            hidden = (walker.layer - 1)[: unsigned_bits(p.depth - 2)]
            count = Mux(from_input, count, words(drain.count)[hidden])
            closed = Mux(from_input, closed, drain.closed.bit_select(hidden, 1))
            base = constant(m, walker.layer, (0, *layout.hidden_base), "list_base")
            m.d.comb += drain.read_address.eq(base + walker.position)
            input_word = steps[1].layer == 0
            word_index = Mux(input_word, word_index, drain.read_entry.index)
            word_value = Mux(input_word, word_value, drain.read_entry.value)
        m.d.sync += [
            indices[2].eq(Mux(steps[1].entry, word_index, 0)),
            values[2].eq(Mux(steps[1].entry, word_value, 0)),
            *(values[i].eq(values[i - 1]) for i in range(3, 7)),
        ]

        weight_row = Signal(unsigned_bits(layout.rows))
        weight_rows = [weight_row]
        m.d.sync += weight_row.eq(steps[2].row_base + indices[2])
        for stage in range(4, 10):
            row = Signal.like(weight_row, name=f"weight_row{stage}")
            m.d.sync += row.eq(weight_rows[-1])
            weight_rows.append(row)

        m.submodules.weights = weights = memory.Memory(
            shape=weight_shape, depth=depth_of(layout.rows), init=self._state.weights.tolist()
        )
        m.submodules.biases = biases = memory.Memory(
            shape=bias_shape, depth=depth_of(layout.block_rows), init=self._state.biases.tolist()
        )
        m.submodules.deltas = deltas = memory.Memory(
            shape=deltas_shape, depth=depth_of(layout.block_rows), init=[]
        )
        weight_read, weight_write = weights.read_port(), weights.write_port()
        bias_read, bias_write = biases.read_port(), biases.write_port()
        delta_read, delta_write = deltas.read_port(), deltas.write_port(granularity=1)
        weight5, delta5 = Signal(weight_shape), Signal(deltas_shape)
        bias = Signal(bias_shape)
        bias_backward = steps[6].end & steps[6].backward
        m.d.comb += [
            weight_read.addr.eq(weight_row),
            delta_read.addr.eq(steps[3].block_row),
            bias_read.addr.eq(Mux(bias_backward, steps[6].block_row, steps[4].block_row)),
        ]
        m.d.sync += [
            weight5.eq(weight_read.data),
            delta5.eq(delta_read.data),
            bias.eq(bias_read.data),
        ]

        draw, update = self._random_sources(m, walker, steps[4])

        m.submodules.quantize = quantize = Quantize(p)
        m.submodules.shift_amount = shift_amount = ShiftAmount(p)
        exponent = Signal(quantize.exponent.shape())
        amount6 = Signal(shift_amount.amount.shape())
        m.d.comb += [
            quantize.value.eq(values[4]),
            shift_amount.exponent.eq(exponent),
            shift_amount.layer.eq(steps[5].layer),
            shift_amount.rate_shift.eq(words(loader.shift)[walker.buffer]),
            shift_amount.bias.eq(steps[5].end),
        ]
        if p.quantizer == "stochastic":
            m.d.comb += quantize.random.eq(update.word[0])
        with m.If(steps[4].entry & steps[4].backward):
            m.d.sync += exponent.eq(quantize.exponent)
        m.d.sync += amount6.eq(shift_amount.amount)

        # Random bits wait for the words they round: DRAW at s5, UPDATE at s7.
        draw5 = [Signal(p.draw_bits, name=f"draw_bits5_{i}") for i in range(p.random_sources)]
        update7 = []
        for i in range(p.random_sources):
            m.d.sync += draw5[i].eq(draw.word[i][p.random_width - p.draw_bits :])
            bits = update.word[i][p.random_width - p.update_bits :]
            for stage in range(5, 8):
                register = Signal(p.update_bits, name=f"update_bits{stage}_{i}")
                m.d.sync += register.eq(bits)
                bits = register
            update7.append(bits)

        def backward(stage: int, kind: str) -> Value:
            return steps[stage][kind] & steps[stage].backward

        lanes = []
        for position in range(p.lanes):
            lane = Lane(p)
            m.submodules[f"lane{position}"] = lane
            source = position % p.random_sources
            m.d.comb += [
                lane.weight5.eq(weight5[position]),
                lane.delta5.eq(delta5[position]),
                lane.random5.eq(draw5[source]),
                lane.entry5.eq(steps[5].entry),
                lane.delta_enable5.eq(backward(5, "entry") | backward(5, "end")),
                lane.value6.eq(values[6]),
                lane.bias.eq(bias[position]),
                lane.accumulate6.eq((steps[6].entry | steps[6].end) & ~steps[6].backward),
                lane.first6.eq(steps[6].first),
                lane.amount6.eq(amount6),
                lane.random7.eq(update7[source]),
                lane.bias7.eq(steps[7].end),
                lane.increment7.eq(backward(7, "entry") | backward(7, "end")),
                lane.weight_enable8.eq(backward(8, "entry")),
                lane.bias_enable8.eq(backward(8, "end")),
                weight_write.data[position].eq(lane.new_weight),
                bias_write.data[position].eq(lane.new_bias),
                drain.sums[position].eq(lane.accumulator),
            ]
            lanes.append(lane)
        m.d.comb += [
            weight_write.addr.eq(weight_rows[9 - 3]),
            weight_write.en.eq(backward(9, "entry")),
            bias_write.addr.eq(steps[9].block_row),
            bias_write.en.eq(backward(9, "end")),
        ]

        m.d.comb += [
            drain.load.eq(steps[7].end & ~steps[7].backward),
            drain.step.eq(steps[7]),
            drain.label.eq(words(loader.label)[walker.buffer]),
            drain.clear.eq(walker.done),
        ]

        # One delta port, three writers that are never active together: the clear of a block's row,
        # the output deltas, and the hidden deltas of the backward pass.
        probes: dict[str, Value] = {}
        delta_row, delta_lane = drain.delta_row, drain.delta_lane
        delta_value, delta_valid = drain.delta, drain.delta_valid
        if p.depth > 1:
            m.submodules.backward = behind = Backward(p)
            entries = {i: Signal(entry_shape, name=f"entry{i}") for i in range(2, 6)}
            m.d.sync += entries[2].eq(drain.read_entry)
            m.d.sync += [entries[i].eq(entries[i - 1]) for i in range(3, 6)]
            m.d.comb += [
                behind.step5.eq(steps[5]),
                behind.entry5.eq(entries[5]),
                *(behind.products[i].eq(lane.product) for i, lane in enumerate(lanes)),
            ]
            below = constant(m, behind.delta_layer, (0, *layout.block_base[:-1]), "delta_base")
            hidden_row = below + behind.delta_block
            delta_row = Mux(behind.delta_valid, hidden_row, delta_row)
            delta_lane = Mux(behind.delta_valid, behind.delta_lane, delta_lane)
            delta_value = Mux(behind.delta_valid, behind.delta, delta_value)
            delta_valid = delta_valid | behind.delta_valid
            probes |= {
                "activation": drain.relu.activation,
                "hidden_count": drain.count,
                "hidden_closed": drain.closed,
                "partial": behind.partial,
                "hidden_delta": behind.delta,
            }
        m.d.comb += delta_write.addr.eq(Mux(drain.load, steps[7].block_row, delta_row))
        for position in range(p.lanes):
            m.d.comb += [
                delta_write.data[position].eq(Mux(drain.load, 0, delta_value)),
                delta_write.en[position].eq(drain.load | (delta_valid & (delta_lane == position))),
            ]

        valid = Signal()
        record = Signal(prediction_shape(p))
        with m.If(self.predictions.ready):
            m.d.sync += valid.eq(0)
        with m.If(walker.result):
            m.d.sync += [
                valid.eq(1),
                record.prediction.eq(drain.prediction),
                record.label.eq(words(loader.label)[walker.buffer]),
                record.train.eq(loader.train.bit_select(walker.buffer, 1)),
            ]
        m.d.comb += [
            self.predictions.valid.eq(valid),
            self.predictions.payload.eq(record),
            self.sample_count.eq(walker.sample_count),
            self.idle.eq(
                (loader.opened == 0)
                & ~valid
                & ~Cat((step.entry, step.end) for step in steps[1:]).any()
            ),
            loader.release.eq(walker.done),
            loader.release_buffer.eq(walker.buffer),
            walker.count.eq(count),
            walker.closed.eq(closed),
            walker.train.eq(loader.train.bit_select(walker.buffer, 1)),
            walker.loss_any.eq(drain.loss_any),
            walker.loss_done.eq(drain.loss_done),
            walker.result_free.eq(~valid | self.predictions.ready),
            walker.drained.eq(drain.drained),
        ]

        if p.input_dropout_bits:
            probes["dropout_state"] = loader.dropout_state
        probes |= {
            "load_valid": loader.valid,
            "load_beat": loader.beat,
            "load_mask": loader.mask,
            "load_buffer": loader.buffer,
            "list_open": loader.opened,
            "list_closed": loader.closed,
            "list_count": loader.count,
            "in_ready": loader.samples.ready,
            "state": walker.phase,
            "layer": walker.layer,
            "block": walker.block,
            "position": walker.position,
            "first": walker.first,
            "pending": walker.pending,
            "gap": walker.gap,
            "settle": walker.settle,
            "buffer": walker.buffer,
            "samples": walker.sample_count,
            "entry_valid": steps[2].entry,
            "entry_end": steps[2].end,
            "entry_index": indices[2],
            "entry_value": values[2],
            "weight_row": weight_row,
            "draw_state": draw.state,
            "update_state": update.state,
            "exponent": exponent,
            **{
                name: Cat(getattr(lane, name) for lane in lanes)
                for name in (
                    "weight",
                    "draw",
                    "delta",
                    "accumulator",
                    "increment",
                    "new_weight",
                    "new_bias",
                )
            },
            "drain_busy": drain.busy,
            "drain_mask": drain.mask,
            "drain_sum": drain.sum,
            "drain_lane": drain.lane,
            "e4_valid": drain.e4_valid,
            "e4_fin": drain.e4_fin,
            "drain_index": drain.e4_index,
            "output_delta": drain.loss.output_delta,
            "best_sum": drain.loss.best_sum,
            "best_index": drain.loss.best_index,
            "loss_any": drain.loss.any,
            "loss_done": drain.loss_done,
            "out_valid": valid,
            "out_prediction": record.prediction,
        }
        self._connect_probes(m, probes)
        return m

    def _connect_probes(self, m: Module, probes: dict[str, Value]) -> None:
        """Pack the probed registers in the order of the table."""
        packed = []
        for probe in self._table:
            value = Value.cast(probes[probe.name])
            if len(value) != probe.bits * probe.words:
                raise ValueError(
                    f"probe {probe.name} is {len(value)} bits wide, "
                    f"the table says {probe.bits} x {probe.words}"
                )
            packed.append(value)
        if packed:
            m.d.comb += self.probes.eq(Cat(packed))

    def _random_sources(
        self, m: Module, walker: Walker, step4: data.View
    ) -> tuple[RandomSource, RandomSource]:
        """Build DRAW, which saves and restores, and UPDATE, which runs on; both stand at s4."""
        p = self._p
        m.submodules.draw = draw = RandomSource(
            p.random_width, self._state.draw.tolist(), slots=p.depth + 1
        )
        m.submodules.update = update = RandomSource(
            p.random_width, self._state.update.tolist(), slots=0
        )
        starts = (step4.entry | step4.end) & step4.layer_first
        m.d.comb += [
            draw.step.eq(step4.entry & (p.draw == "stochastic")),
            draw.save.eq((starts & ~step4.backward) | walker.save),
            draw.save_slot.eq(Mux(walker.save, p.depth, step4.layer)),
            draw.recall.eq((starts & step4.backward) | walker.restore),
            draw.recall_slot.eq(Mux(walker.restore, walker.restore_slot, step4.layer)),
            update.step.eq(step4.entry & step4.backward),
        ]
        return draw, update
