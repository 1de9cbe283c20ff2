"""Faults that several checks must catch: the lockstep at its unit, and the unit's proof.

A fault is a unit subclassed: in Amaranth the last assignment wins.
"""

from amaranth.hdl import *

from hdl.booth import Booth
from hdl.connect import Connect
from hdl.drain import Drain
from hdl.loader import Loader
from hdl.loss import Loss
from hdl.quantize import Quantize
from hdl.update import UpdateWeight
from hdl.walker import Walker


class MissingClip(UpdateWeight):
    """A new weight wraps."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        m.d.comb += self.new_weight.eq(self.weight + self.increment)
        return m


class FlooredExponent(Quantize):
    """The quantizer looks at the leading one only."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        for position in range(len(self.value)):
            with m.If(self.value[position]):
                m.d.comb += self.exponent.eq(position)
        return m


class ForgottenPass(Loss):
    """The logits of a pass replace those of the passes before."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        total, late = Signal.like(self.total), Signal()
        m.d.sync += [total.eq(self.total), late.eq(self.valid)]
        with m.If(late):
            m.d.sync += self.logit_sum.eq(total)
        return m


class DroppedPixel(Loader):
    """The last pixel of each word is lost."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        with m.If(self.samples.valid & self.samples.ready):
            m.d.sync += self.mask[-1].eq(0)
        return m


class WrongMask(Drain):
    """Lanes whose sum is not positive drain too."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        with m.If(self.load):
            m.d.sync += [self.mask.eq(-1), self.some.eq(-1)]
        return m


class MissingStall(Walker):
    """The walker does not wait for the scratch memory."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        m.d.sync += self.gap.eq(0)
        return m


class UnsignedPlane(Booth):
    """The highest plane counts as if weights had no sign."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        with m.If(self.plane == self._p.planes - 1):
            m.d.comb += self.digit.eq(self.weight[-1] & ~self.weight[-2])
        return m


class ThresholdOffByHalf(Connect):
    """Thresholded weights round with the half step of a random number."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        m.submodules.inner = inner = Connect(self._p)
        m.d.comb += [
            inner.weight.eq(self.weight),
            inner.random.eq(self.random),
            inner.half.eq(1),
            self.draw.eq(inner.draw),
        ]
        return m
