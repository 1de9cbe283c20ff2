"""The trainer: memories, lanes and pipeline around the walker, loader and drain."""

from amaranth.hdl import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.formats import Formats, unsigned_bits
from golden.layout import Layout
from golden.parameters import Parameters
from golden.probes import probe_table
from golden.state import State
from hdl.backward import Backward
from hdl.biases import Biases
from hdl.collision import UNUSED_ON_COLLISION
from hdl.drain import Drain
from hdl.gradient import UpdateStep
from hdl.host import host_signature
from hdl.lane import Lane
from hdl.loader import Loader
from hdl.quantize import Quantize
from hdl.random_source import RandomSource
from hdl.register_map import MEMORIES
from hdl.shapes import (
    LANE_GROUP_BITS,
    constant,
    delta_shape,
    depth_of,
    groups,
    hidden_entry_shape,
    input_entry_shape,
    lanes_of,
    logit_shape,
    prediction_shape,
    sample_shape,
    step_shape,
    words,
)
from hdl.walker import Rule, Walker


class Trainer(wiring.Component):
    """Train and evaluate a network online, one sample after the other (``docs/architecture.md``).

    Args:
        parameters: The network and its formats.
        state: What memories and random sources hold after configuration.
        probed: Have the port ``probes``.

    Raises:
        ParameterError: If the parameters ask for what the gateware does not do.

    Attributes:
        samples: Pixels, label, mode, learning-rate shift and rule of inference, one or more
            transfers a sample.
        predictions: One record a sample.
        logit_valid: ``logit`` is the sum ``z`` of output unit ``logit_index`` of the sample in
            hand, added up over the passes so far; ``f`` fraction bits. The prediction is the lowest
            unit with the largest one.
        host: Reads and writes memories and random states while ``idle``.
        sample_count: Samples done since reset, modulo ``2**32``.
        idle: No sample is in hand or on its way, no prediction waits, and every write has landed.
        cut: A reset now would leave memories and random states that are not those after a whole
            sample.
        done: A sample is done with, in its last clock.
        trained: With ``done``: it had its backward pass.
        wrong: With ``done``: its prediction is not its label.
        probes: The registers of the probe table (``golden.probes``), packed: for the lockstep.
    """

    #: What a lane is, and what works out what the increments of all lanes have in common.
    lane_type, update_step_type = Lane, UpdateStep

    #: ``sample_count`` after a reset; not 0 only in a test of all its bits.
    first_count = 0

    def __init__(self, parameters: Parameters, state: State, *, probed: bool = False) -> None:
        self._check(parameters)
        self._p = parameters
        self._state = state
        self._table = probe_table(parameters) if probed else []
        members = {
            "samples": In(stream.Signature(sample_shape(parameters))),
            "predictions": Out(stream.Signature(prediction_shape(parameters))),
            "logit_valid": Out(1),
            "logit_index": Out(unsigned_bits(parameters.layers[-1] - 1)),
            "logit": Out(logit_shape(parameters)),
            "host": In(host_signature(parameters)),
            "sample_count": Out(32),
            "idle": Out(1),
            "cut": Out(1),
            "done": Out(1),
            "trained": Out(1),
            "wrong": Out(1),
        }
        if probed:
            members["probes"] = Out(sum(probe.bits * probe.words for probe in self._table))
        super().__init__(members)

    def _check(self, parameters: Parameters) -> None:
        """Raise ``ParameterError`` if the parameters ask for what this does not do."""
        parameters.check_gateware()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self._p
        layout = Layout.of(p)
        weight_shape = lanes_of(p, signed(p.weight_bits))
        deltas_shape = lanes_of(p, delta_shape(p))

        m.submodules.loader = loader = Loader(p, int(self._state.dropout[0]))
        m.submodules.walker = walker = Walker(p, self.first_count)
        m.submodules.drain = drain = Drain(p)
        wiring.connect(m, wiring.flipped(self.samples), loader.samples)

        # steps[i] is the step at stage s(i); entries[i] its list word, from s2 on.
        steps = [walker.step]
        for stage in range(1, 10):
            step = Signal(step_shape(p), name=f"step{stage}")
            m.d.sync += step.eq(steps[-1])
            steps.append(step)
        # The host's row travels in bubbles.
        host = self.host
        with m.If(host.active):
            m.d.sync += steps[1].row_base.eq(host.row)
        host_stores = {
            name: host.store & (host.memory == number) for number, name in enumerate(MEMORIES)
        }

        entry_shape = input_entry_shape(p) if p.depth == 1 else hidden_entry_shape(p)
        index_bits = unsigned_bits(max(p.layers[:-1]) - 1)
        indices = {i: Signal(index_bits, name=f"index{i}") for i in (2,)}
        values = {i: Signal(p.activation_bits, name=f"value{i}") for i in range(2, 6)}

        # The walker reads the list of the layer in hand. Its place is compared with every list's
        # count: shorter paths than from a choice of counts.
        def unread_of(counts: data.View) -> Value:
            return Cat(walker.position < counts[number] for number in range(counts.shape().length))

        unread = unread_of(loader.count).bit_select(walker.buffer, 1)
        closed = loader.closed.bit_select(walker.buffer, 1)
        address = Mux(walker.buffer, p.layers[0], 0) + walker.position
        m.d.comb += loader.read_address.eq(address)
        word_index, word_value = loader.read_entry.index, loader.read_entry.value
        if p.depth > 1:
            from_input = walker.layer == 0
            hidden = (walker.layer - 1)[: unsigned_bits(p.depth - 2)]
            unread = Mux(from_input, unread, unread_of(drain.count).bit_select(hidden, 1))
            closed = Mux(from_input, closed, drain.closed.bit_select(hidden, 1))
            base = constant(m, walker.layer, (0, *layout.hidden_base), "list_base")
            m.d.comb += drain.read_address.eq(base + walker.position)
            input_word = steps[1].layer == 0
            word_index = Mux(input_word, word_index, drain.read_entry.index)
            word_value = Mux(input_word, word_value, drain.read_entry.value)
        m.d.sync += [
            indices[2].eq(Mux(steps[1].entry, word_index, 0)),
            values[2].eq(Mux(steps[1].entry, word_value, 0)),
            *(values[i].eq(values[i - 1]) for i in range(3, 6)),
        ]

        # The rule of the sample in hand stands still from before its first step to behind its last.
        thresholded = Signal()
        exact = Signal()
        m.d.sync += [
            thresholded.eq(walker.rule_in_hand == Rule.THRESHOLDED),
            exact.eq(walker.rule_in_hand == Rule.EXACT),
        ]
        # A value goes to the place of its plane, or to that of a drawn weight's unit: here, once
        # for all lanes, instead of doubling every lane's accumulator between planes.
        value6 = Signal(Formats.of(p).value_bits)
        shifted = values[5] << (p.accumulator_fraction_bits - p.draw_fraction_bits)
        if p.inference == "exact":
            places = Array(values[5] << (p.draw_steps * plane) for plane in range(p.planes))
            shifted = Mux(exact, places[steps[5].plane], shifted)
        m.d.sync += value6.eq(shifted)

        weight_row = Signal(unsigned_bits(layout.rows))
        weight_rows = [weight_row]
        m.d.sync += weight_row.eq(steps[2].row_base + indices[2])
        for stage in range(4, 10):
            row = Signal.like(weight_row, name=f"weight_row{stage}")
            m.d.sync += row.eq(weight_rows[-1])
            weight_rows.append(row)

        m.submodules.weights = weights = memory.Memory(
            shape=weight_shape,
            depth=depth_of(layout.rows),
            init=self._state.weights.tolist(),
            attrs=UNUSED_ON_COLLISION,
        )
        m.submodules.biases = biases = Biases(p, self._state)
        m.submodules.deltas = deltas = memory.Memory(
            shape=deltas_shape,
            depth=depth_of(layout.block_rows),
            init=[],
            attrs=UNUSED_ON_COLLISION,
        )
        weight_read, weight_write = weights.read_port(), weights.write_port()
        delta_read, delta_write = deltas.read_port(), deltas.write_port(granularity=1)
        # Words count with their step, which a reset clears.
        weight5 = Signal(weight_shape, reset_less=True)
        delta5 = Signal(deltas_shape, reset_less=True)
        bias6 = Signal(biases.read_data.shape(), reset_less=True)
        m.d.comb += [
            weight_read.addr.eq(weight_row),
            delta_read.addr.eq(steps[3].block_row),
            biases.read_row.eq(steps[4].block_row),
        ]
        m.d.sync += [
            weight5.eq(weight_read.data),
            delta5.eq(delta_read.data),
            bias6.eq(biases.read_data),
        ]

        draw, update = self._random_sources(m, walker, steps[4], thresholded | exact)
        sources = {"DRAW": draw, "UPDATE": update}
        if loader.dropout is not None:
            sources["DROPOUT"] = loader.dropout
        for name, source in sources.items():
            m.d.comb += source.replacement.eq(host.state)
            for i in range(len(source.replace)):
                m.d.comb += source.replace[i].eq(host_stores[name] & (host.row == i))

        m.submodules.quantize = quantize = Quantize(p)
        m.submodules.update_step = update_step = self.update_step_type(p)
        exponent = Signal(quantize.exponent.shape())
        rounding6 = Signal(update_step.rounding.shape())
        amount6, amount7 = (Signal.like(update_step.amount, name=f"amount{i}") for i in (6, 7))
        rate_shift = words(loader.shift)[walker.buffer]
        m.d.comb += [
            quantize.value.eq(values[4]),
            update_step.exponent.eq(exponent),
            update_step.layer.eq(steps[4].layer),
            update_step.rate_shift.eq(rate_shift),
        ]
        if p.quantizer == "stochastic":
            m.d.comb += quantize.random.eq(update.word[0])
        with m.If(steps[4].entry & steps[4].backward):
            m.d.sync += exponent.eq(quantize.exponent)
        m.d.sync += [
            rounding6.eq(update_step.rounding),
            amount6.eq(update_step.amount),
            amount7.eq(amount6),
        ]

        draw5 = [Signal(p.draw_bits, name=f"draw_bits5_{i}") for i in range(p.random_sources)]
        update5 = [Signal(p.update_bits, name=f"update_bits5_{i}") for i in range(p.random_sources)]
        for i in range(p.random_sources):
            bits = draw.word[i][p.random_width - p.draw_bits :]
            m.d.sync += [
                draw5[i].eq(Mux(thresholded, 1 << (p.draw_bits - 1), bits)),
                update5[i].eq(update.word[i][p.random_width - p.update_bits :]),
            ]
            m.d.comb += update_step.random[i].eq(update5[i])

        def backward(stage: int) -> Value:
            return steps[stage].entry & steps[stage].backward

        lanes = []
        for position in range(p.lanes):
            lane = self.lane_type(p)
            m.submodules[f"lane{position}"] = lane
            source = position % p.random_sources
            m.d.comb += [
                lane.weight5.eq(weight5[position]),
                lane.delta5.eq(delta5[position]),
                lane.random5.eq(draw5[source]),
                lane.half5.eq(~thresholded),
                lane.plane5.eq(steps[5].plane),
                lane.exact5.eq(exact),
                lane.exact6.eq(exact),
                lane.entry5.eq(steps[5].entry),
                lane.backward5.eq(backward(5)),
                lane.value6.eq(value6),
                lane.bias6.eq(bias6[position]),
                lane.accumulate6.eq((steps[6].entry | steps[6].end) & ~steps[6].backward),
                lane.first6.eq(steps[6].first),
                lane.rounding6.eq(rounding6[source]),
                lane.amount7.eq(amount7),
                lane.backward7.eq(backward(7)),
                lane.backward8.eq(backward(8)),
                lane.host_load.eq(host.load & (host.lane == position)),
                # Narrowed to what the host has checked to fit.
                lane.host_data.eq(host.data[: p.weight_bits]),
                weight_write.data[position].eq(lane.new_weight),
                drain.sums[position].eq(lane.accumulator),
            ]
            lanes.append(lane)
        # A register, because it goes to every lane's memory.
        weight_enable = Signal()
        m.d.sync += weight_enable.eq(backward(8) | host_stores["WEIGHTS"])
        m.d.comb += [
            weight_write.addr.eq(weight_rows[9 - 3]),
            weight_write.en.eq(weight_enable),
        ]
        host_words = {
            "WEIGHTS": self._host_weight(m, weight5),
            "BIASES": biases.word,
            **{name: self._host_half(source) for name, source in sources.items()},
        }
        with m.Switch(host.memory):
            for name, word in host_words.items():
                with m.Case(MEMORIES.index(name)):
                    m.d.sync += host.word.eq(word)

        m.d.comb += [
            drain.load.eq(steps[7].end & ~steps[7].backward),
            drain.step.eq(steps[7]),
            drain.label.eq(words(loader.label)[walker.buffer]),
            drain.again.eq(walker.again),
            drain.clear.eq(walker.done | walker.repeat),
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
                *(behind.terms[i].eq(lane.term) for i, lane in enumerate(lanes)),
                behind.carries.eq(Cat(lane.carry for lane in lanes)),
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
        train = loader.train.bit_select(walker.buffer, 1)
        m.d.comb += [
            biases.valid.eq(delta_valid & train),
            biases.row.eq(delta_row),
            biases.lane.eq(delta_lane),
            biases.delta.eq(delta_value),
            biases.rate_shift.eq(rate_shift),
            biases.host.eq(host.active),
            biases.host_row.eq(host.row),
            biases.host_lane.eq(host.lane),
            biases.host_store.eq(host.load & (host.memory == MEMORIES.index("BIASES"))),
            biases.host_data.eq(host.data[: p.bias_bits]),
        ]
        m.d.comb += delta_write.addr.eq(Mux(drain.load, steps[7].block_row, delta_row))
        for position in range(p.lanes):
            m.d.comb += [
                delta_write.data[position].eq(Mux(drain.load, 0, delta_value)),
                delta_write.en[position].eq(drain.load | (delta_valid & (delta_lane == position))),
            ]

        in_flight = Signal()
        touched = Signal()
        in_stages = Cat((step.entry, step.end) for step in steps[1:]).any()
        m.d.comb += in_flight.eq(in_stages | biases.busy)
        with m.If(walker.step.entry | walker.step.end):
            m.d.sync += touched.eq(1)
        with m.Elif(walker.done):
            m.d.sync += touched.eq(0)

        valid = Signal()
        record = Signal(prediction_shape(p))
        with m.If(self.predictions.ready):
            m.d.sync += valid.eq(0)
        with m.If(walker.result):
            m.d.sync += [
                valid.eq(1),
                record.prediction.eq(drain.prediction),
                record.label.eq(words(loader.label)[walker.buffer]),
                record.train.eq(train),
            ]
        m.d.comb += [
            self.predictions.valid.eq(valid),
            self.predictions.payload.eq(record),
            self.logit_valid.eq(drain.loss.summed),
            self.logit_index.eq(drain.loss.summed_index),
            self.logit.eq(drain.loss.logit_sum),
            self.sample_count.eq(walker.sample_count),
            self.idle.eq((loader.opened == 0) & ~valid & ~in_flight),
            # With input dropout, loading a sample takes random words.
            self.cut.eq(touched | in_flight | ((loader.opened != 0) & (p.input_dropout_bits > 0))),
            self.done.eq(walker.done),
            self.trained.eq(walker.trained),
            self.wrong.eq(record.prediction != record.label),
            loader.release.eq(walker.done),
            loader.release_buffer.eq(walker.buffer),
            walker.unread.eq(unread),
            walker.closed.eq(closed),
            walker.train.eq(train),
            walker.rule.eq(words(loader.rule)[walker.buffer]),
            walker.extra_draws.eq(words(loader.extra_draws)[walker.buffer]),
            walker.loss_any.eq(drain.loss_any),
            walker.loss_done.eq(drain.loss_done),
            walker.result_free.eq(~valid | self.predictions.ready),
            walker.loaded.eq(drain.load),
            walker.draining.eq(drain.busy),
        ]

        if loader.dropout is not None:
            probes["dropout_state"] = loader.dropout.state
        probes |= {
            "load_valid": loader.valid,
            "load_begun": loader.begun,
            "load_mask": loader.mask,
            "load_buffer": loader.buffer,
            "list_open": loader.opened,
            "list_closed": loader.closed,
            "list_count": loader.count,
            "in_ready": loader.samples.ready,
            "state": walker.phase,
            "pass_index": walker.pass_index,
            "layer": walker.layer,
            "block": walker.block,
            "plane": walker.plane,
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
                )
            },
            "new_bias": biases.new_bias,
            "drain_busy": drain.busy,
            "drain_mask": drain.mask,
            "drain_sum": drain.sum,
            "drain_lane": drain.lane,
            "e4_valid": drain.e4_valid,
            "e4_fin": drain.e4_fin,
            "drain_index": drain.e4_index,
            "output_delta": drain.loss.output_delta,
            "logit_sum": drain.loss.logit_sum,
            "best_sum": drain.loss.best_sum,
            "best_index": drain.loss.best_index,
            "loss_any": drain.loss.any,
            "loss_done": drain.loss_done,
            "out_valid": valid,
            "out_prediction": record.prediction,
        }
        self._connect_probes(m, probes)
        return m

    def _host_weight(self, m: Module, row: data.View) -> Value:
        """Return the weight that the host asks for, of the row at s5, two clocks later.

        Chosen within each group of lanes first, and from the groups then.
        """
        shape = signed(self._p.weight_bits)
        near = []
        for group in groups(range(self._p.lanes)):
            near.append(Signal(shape, name=f"host_weight{group[0]}", reset_less=True))
            weights = Array(row[lane] for lane in group)
            m.d.sync += near[-1].eq(weights[self.host.lane[:LANE_GROUP_BITS]])
        chosen = Signal(shape, name="host_weight", reset_less=True)
        m.d.sync += chosen.eq(
            Array(near)[self.host.lane[LANE_GROUP_BITS:]] if len(near) > 1 else near[0]
        )
        return chosen

    def _host_half(self, source: RandomSource) -> Value:
        """Return the 32 bits of a random state that the host asks for."""
        state = Value.cast(words(source.state)[self.host.row])
        return Mux(self.host.lane == 0, state[:32], state[32:]) if len(state) > 32 else state

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
        self, m: Module, walker: Walker, step4: data.View, fixed: Value
    ) -> tuple[RandomSource, RandomSource]:
        """Build DRAW, which saves and restores, and UPDATE, which runs on; both stand at s4.

        DRAW gives no words while the weights are ``fixed``: those of a rule without random bits.
        """
        p = self._p
        m.submodules.draw = draw = RandomSource(
            p.random_width, self._state.draw.tolist(), slots=p.depth + 1
        )
        m.submodules.update = update = RandomSource(
            p.random_width, self._state.update.tolist(), slots=0
        )
        starts = (step4.entry | step4.end) & step4.layer_first
        m.d.comb += [
            draw.step.eq(step4.entry & ~fixed & (p.draw == "stochastic")),
            draw.save.eq((starts & ~step4.backward) | walker.save),
            draw.save_slot.eq(Mux(walker.save, p.depth, step4.layer)),
            draw.recall.eq((starts & step4.backward) | walker.restore),
            draw.recall_slot.eq(Mux(walker.restore, walker.restore_slot, step4.layer)),
            update.step.eq(step4.entry & step4.backward),
        ]
        return draw, update
