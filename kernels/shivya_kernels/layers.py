"""The four layers of a tick, each a pure function of parameters, memory and observation.

    believe (L1, L2)  what each vertex is like, how surprising that is, and what to do about it
    couple  (L3)      how readily each link carries work, and who gains by pooling
    flow    (L0)      where work should go: a job that arrives, and the jobs that wait
    form    (L4)      which cells are under stress and split, and which go

A layer returns the memory it changed and what it found; ``step.step`` composes them. Observations have been
admitted (``admit``), so every number here is finite.
"""

from __future__ import annotations

from shivya_kernels.layer_believe import Believed, believe
from shivya_kernels.layer_couple import Coupled, couple
from shivya_kernels.layer_flow import Flowing, flow
from shivya_kernels.layer_form import Formed, form
from shivya_kernels.sensing import SENSES, admit

__all__ = [
    "SENSES",
    "Believed",
    "Coupled",
    "Flowing",
    "Formed",
    "admit",
    "believe",
    "couple",
    "flow",
    "form",
]
