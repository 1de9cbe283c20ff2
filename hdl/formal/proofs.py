"""The list of proofs."""

from collections.abc import Callable
from dataclasses import dataclass

from golden.parameters import Parameters
from hdl.formal.accumulate import accumulate, select
from hdl.formal.axi_lite import axi_lite
from hdl.formal.backward import backward_sum
from hdl.formal.bench import Bench
from hdl.formal.booth import booth
from hdl.formal.connect import connect
from hdl.formal.drain import drain
from hdl.formal.gradient import bias_increment, gradient
from hdl.formal.lane import forward_sum, write_back
from hdl.formal.loader import loader
from hdl.formal.loss import loss
from hdl.formal.prediction_stream import prediction_stream
from hdl.formal.quantize import quantize
from hdl.formal.random_source import random_source
from hdl.formal.rounding import hidden_delta, relu, update_bias, update_weight
from hdl.formal.sample_stream import sample_stream
from hdl.formal.walker import walker
from hdl.formal.window import window


def _always(parameters: Parameters) -> bool:
    return True


def _hidden(parameters: Parameters) -> bool:
    return parameters.depth > 1


def _as_it_is(parameters: Parameters) -> tuple[Parameters, str]:
    return parameters, ""


def _few_inputs(parameters: Parameters) -> tuple[Parameters, str]:
    if parameters.layers[0] <= 64:
        return parameters, ""
    return parameters.replace(layers=(64, *parameters.layers[1:])), "64 inputs"


def _few_lanes(parameters: Parameters) -> tuple[Parameters, str]:
    if parameters.lanes <= 16:
        return parameters, ""
    inputs, *hidden, classes = parameters.layers
    layers = (inputs, *(min(size, 64) for size in hidden), classes)
    sources = min(parameters.random_sources, 16)
    reduced = parameters.replace(lanes=16, random_sources=sources, layers=layers)
    return reduced, "16 lanes and 64 units"


@dataclass(frozen=True)
class Proof:
    """A proof of the claims of one bench.

    Attributes:
        name: For ``--only``.
        claim: What is proved, in a line.
        source: Where the contract says it.
        bench: Builds the bench for a network.
        assumed: All that is assumed of the unit's inputs, beside their widths.
        depth: Clocks of the induction: the claims hold in the first ``depth`` clocks, and whenever
            they have held for ``depth`` clocks they hold in the next. 0: there is no state.
        applies: Whether a network has the unit.
        reduce: Where the full size takes the solver too long: returns a smaller network and what
            it is smaller in, or the same one.
    """

    name: str
    claim: str
    source: str
    bench: Callable[[Parameters], Bench]
    assumed: str = "nothing"
    depth: int = 0
    applies: Callable[[Parameters], bool] = _always
    reduce: Callable[[Parameters], tuple[Parameters, str]] = _as_it_is

    @property
    def method(self) -> str:
        """How it is proved."""
        if self.depth == 0:
            return "all inputs"
        return f"induction, {self.depth} clock{'s' if self.depth > 1 else ''}"


#: All proofs, in the order of the algorithm.
PROOFS = (
    Proof(
        "connect",
        "the drawn weight is the contract's, and in its range",
        "arithmetic.md, 5",
        connect,
    ),
    Proof(
        "booth",
        "digits in range; the lowest k make the lowest bits, all make the weight",
        "arithmetic.md, 13",
        booth,
        applies=lambda p: p.inference == "exact",
    ),
    Proof(
        "accumulate",
        "total = base + T * x",
        "arithmetic.md, 6",
        accumulate,
        assumed="T is in its range; the sum fits",
    ),
    Proof(
        "select",
        "product = T * d",
        "arithmetic.md, 8",
        select,
        depth=2,
        assumed="T and d are in their ranges",
    ),
    Proof(
        "relu",
        "the activation is the sum's positive part, rounded up, saturated",
        "arithmetic.md, 6",
        relu,
        depth=2,
        applies=_hidden,
        assumed="the layer is a hidden one",
    ),
    Proof(
        "hidden-delta",
        "the hidden delta is the backward sum, rounded half up, saturated",
        "arithmetic.md, 8",
        hidden_delta,
        applies=_hidden,
        assumed="the layer is not the first",
    ),
    Proof(
        "quantize",
        "2^e is the power of two that the rule rounds to",
        "arithmetic.md, 9",
        quantize,
    ),
    Proof(
        "gradient",
        "the increment of a weight never overflows",
        "arithmetic.md, 9",
        gradient,
        depth=3,
        assumed="d and e are in their ranges; layer and rate shift are the network's",
    ),
    Proof(
        "bias-increment",
        "the increment of a bias never overflows",
        "arithmetic.md, 9",
        bias_increment,
        assumed="d is in its range; the rate shift is the network's",
    ),
    Proof(
        "update-weight",
        "the new weight is the saturated sum, and in its range",
        "arithmetic.md, 9",
        update_weight,
    ),
    Proof(
        "update-bias",
        "the new bias is the saturated sum, and in its range",
        "arithmetic.md, 9",
        update_bias,
    ),
    Proof(
        "write-back",
        "what a lane writes back is in range, and the saturated sum of that step's weight",
        "arithmetic.md, 9; architecture.md, 6",
        write_back,
        depth=4,
        assumed="words that are read, or loaded by the host, are in their ranges; a plane is one "
        "of the weight",
    ),
    Proof(
        "forward-sum",
        "sums are base + T * x by every rule; with drawn weights they never overflow, over a list "
        "as long as the widest layer",
        "arithmetic.md, 2, 6 and 13",
        forward_sum,
        depth=2,
        assumed="words are in their ranges; at most as many live entries as inputs; a block has "
        "one rule; in the rule exact sums fit",
    ),
    Proof(
        "backward-sum",
        "adder tree and partial sums never overflow, over all lanes and blocks",
        "arithmetic.md, 2 and 8",
        backward_sum,
        depth=4,
        applies=_hidden,
        assumed="steps are of the layout, products in their ranges; blocks of a column in order, "
        "4 clocks apart; padding lanes are 0",
    ),
    Proof(
        "random-source",
        "no state, slot or word is ever 0; what is recalled was saved; steps are the contract's",
        "arithmetic.md, 4",
        random_source,
        depth=2,
        assumed="no state of 0 from the host; slots are those that there are",
    ),
    Proof(
        "axi-lite",
        "one answer for each request, held until taken; registers hold only what fits",
        "core.md; AXI4-Lite",
        axi_lite,
        depth=3,
    ),
    Proof(
        "sample-stream",
        "a packet becomes one whole sample of ascending pixels; transfers are held until taken",
        "packets.md; AXI4-Stream",
        sample_stream,
        depth=3,
    ),
    Proof(
        "prediction-stream",
        "one record for each prediction, no logit lost; beats are held until taken",
        "packets.md; AXI4-Stream",
        prediction_stream,
        depth=3,
        assumed="a prediction waits; meanwhile logits are those of the next sample; logits are "
        "of the output layer's units",
    ),
    Proof(
        "loader",
        "the lists of live pixels never overflow and lose no pixel",
        "architecture.md, 4",
        loader,
        depth=1,
        reduce=_few_inputs,
        assumed="pixels ascend; the words of a sample are all for training or none; a list is "
        "released when it is complete",
    ),
    Proof(
        "walker",
        "every step is inside the layout; two visits of a column are 4 clocks apart",
        "architecture.md, 5",
        walker,
        depth=4,
        assumed="a list is no longer than its layer",
    ),
    Proof(
        "loss",
        "deltas are the hinge's; logits never overflow; the lowest unit with the largest sum wins",
        "arithmetic.md, 7 and 13",
        loss,
        depth=4,
        assumed="sums are in their range; units of the output layer ascend; at most 256 passes, "
        "the first not added; cleared when all have gone through",
    ),
    Proof(
        "drain",
        "the lists of live activations never overflow and lose none",
        "architecture.md, 7",
        drain,
        depth=7,
        applies=_hidden,
        reduce=_few_lanes,
        assumed="blocks in order, 7 clocks after the last one has drained; cleared only then, "
        "and never with a block",
    ),
    Proof(
        "window",
        "whole rows only, of words that fit; no random state of 0",
        "core.md, Window",
        window,
        depth=3,
        assumed="an access holds until it is done; meanwhile nothing is set, and no row lost",
    ),
)

_DIGITS = Parameters.named("digits")

#: The networks that are proved unless others are asked for: shipped ones, and what they leave out.
NETWORKS = {
    "digits": _DIGITS,
    "mnist-small": Parameters.named("mnist-small"),
    "digits-binary": _DIGITS.replace(connect="binary", draw_steps=1, draw_bits=8),
    "digits-exact": _DIGITS.replace(inference="exact", quantizer="stochastic"),
}

#: What those of them are that do not ship.
VARIANTS = {
    "digits-binary": "`digits` with binary connect",
    "digits-exact": "`digits` with exact inference and the stochastic quantizer",
}
