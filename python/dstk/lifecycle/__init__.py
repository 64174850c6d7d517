"""How a partition comes to be, is split, merged and moved: pure decisions, without I/O or a clock.

``decide`` gives the next actions of an Assignment, ``touched`` what has to be looked at before, ``recover``
what to do about what a worker holds, ``repair`` about an object that was edited by hand. ``actions`` and
``observed`` are the data they speak.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dstk.lifecycle.decision import decide as decide
    from dstk.lifecycle.recovery import recover as recover
    from dstk.lifecycle.repairs import Around as Around
    from dstk.lifecycle.repairs import is_suspect as is_suspect
    from dstk.lifecycle.repairs import repair as repair
    from dstk.lifecycle.repairs import settle as settle
    from dstk.lifecycle.scope import Touched as Touched
    from dstk.lifecycle.scope import touched as touched

__all__ = ["Around", "Touched", "decide", "is_suspect", "recover", "repair", "settle", "touched"]

_HOMES = {
    "Around": "repairs",
    "Touched": "scope",
    "decide": "decision",
    "is_suspect": "repairs",
    "recover": "recovery",
    "repair": "repairs",
    "settle": "repairs",
    "touched": "scope",
}


def __getattr__(name: str) -> Any:
    # On demand: a worker shares actions and observed with the operator, and has no typed resources installed.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
