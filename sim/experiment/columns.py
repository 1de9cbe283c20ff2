"""The four columns of the paper's table of results."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Column:
    """A way to train.

    Attributes:
        title: Its name.
        connect: How weights are drawn; ``"none"`` uses them as they are.
        quantized: Quantized back propagation (QBP): the inputs of a layer become powers of two in
            the gradient of its weights.
        paper_error: Test error in percent that the paper reports for MNIST after 1000 epochs (its
            table 1).
    """

    title: str
    connect: Literal["none", "binary", "ternary"]
    quantized: bool
    paper_error: float


#: By key, in the paper's order.
COLUMNS = {
    "full-precision": Column("full precision", "none", quantized=False, paper_error=1.33),
    "binary-connect": Column("binary connect", "binary", quantized=False, paper_error=1.23),
    "binary-connect-qbp": Column(
        "binary connect + QBP", "binary", quantized=True, paper_error=1.29
    ),
    "ternary-connect-qbp": Column(
        "ternary connect + QBP", "ternary", quantized=True, paper_error=1.15
    ),
}
