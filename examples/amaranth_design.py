"""An Amaranth design around the trainer: it trains on whether two buttons are alike.

The trainer is a `wiring.Component`: its streams are connected by name, its parameters are those of
`golden.Parameters`. Run it to print the Verilog of the whole design:

    python examples/amaranth_design.py > alike_lamp.v
"""

from amaranth.back import verilog
from amaranth.hdl import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden import Parameters
from golden.state import State
from hdl.trainer import Trainer

PARAMETERS = Parameters(
    layers=(2, 4, 2),
    lanes=2,
    pixels_per_beat=2,
    activation_shifts=(3, 2),
    delta_shifts=(2,),
    update_shifts=(9, 8),
)


class AlikeLamp(wiring.Component):
    """Train on the state of two buttons: class 1 is "both alike".

    Attributes:
        buttons: The buttons.
        learn: Train; else only predict.
        alike: The prediction.
    """

    buttons: In(2)
    learn: In(1)
    alike: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.trainer = trainer = Trainer(PARAMETERS, State.initial(PARAMETERS))
        sample = trainer.samples.payload
        m.d.comb += [
            # A pixel of 0 is no input at all: a released button is a small number instead.
            sample.pixels[0].eq(Cat(1, self.buttons[0].replicate(7))),
            sample.pixels[1].eq(Cat(1, self.buttons[1].replicate(7))),
            sample.label.eq(self.buttons[0] == self.buttons[1]),
            sample.train.eq(self.learn),
            trainer.samples.valid.eq(1),
            trainer.predictions.ready.eq(1),
        ]
        with m.If(trainer.predictions.valid):
            m.d.sync += self.alike.eq(trainer.predictions.payload.prediction)
        return m


if __name__ == "__main__":
    print(verilog.convert(AlikeLamp(), name="alike_lamp"))
