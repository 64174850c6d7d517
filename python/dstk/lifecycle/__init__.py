"""How a partition comes to be, is split, merged and moved: pure decisions, without I/O or a clock.

``decide`` gives the next actions of an Assignment, ``touched`` what has to be looked at before, ``recover``
what to do about what a worker holds, ``repair`` about an object that was edited by hand. ``actions`` and
``observed`` are the data they speak.
"""

from dstk.lifecycle.decision import decide
from dstk.lifecycle.recovery import recover
from dstk.lifecycle.repairs import Surroundings, is_suspect, repair, settle
from dstk.lifecycle.scope import Touched, touched

__all__ = ["Surroundings", "Touched", "decide", "is_suspect", "recover", "repair", "settle", "touched"]
