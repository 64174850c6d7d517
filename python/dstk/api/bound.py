"""The text of range bounds and split keys in resources. `dstk.keys` turns it into bytes."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from dstk.api.model import Rule

__all__ = ["BOUND_MAX", "BoundText"]

BOUND_MAX: Final = 2 + 2 * 1024
"""Characters: ``0x`` and two hex digits for each byte of the longest key."""

_HEX = Rule(
    rule="!self.startsWith('0x') || self.matches('^0x([0-9a-fA-F]{2})+$')",
    message="a bound that starts with 0x is hex: 0x and two hex digits a byte",
)

BoundText = Annotated[str, Meta(max_length=BOUND_MAX, extra_json_schema={"x-kubernetes-validations": [_HEX.schema()]})]
