"""Keys: encoders from values to bytes of fixed length that sort as the values do, their decoders, and bounds as text.

A key of several parts is described by a :class:`Layout`; docs/keys.md says which parts to choose.

>>> carts = Layout(user=hashed(u64), cart=uint(4))
>>> carts.encode(user=42, cart=1).hex()
'd334000000000000002a00000001'

Each encoder of numbers takes one value and gives ``bytes``, or takes a numpy array and gives an array of dtype
``S{n}``, ready for :meth:`RangeIndex.find_many`. numpy drops trailing zero bytes when it shows one element of such an
array; the decoders put them back.

>>> compose(text("eu", 4), u64(7)).hex()
'657500000000000000000007'
"""

from dstk._core import RangeIndex
from dstk.keys.cuts import bounds_at, even_bounds, sampled_cuts
from dstk.keys.encoders import (
    MAX_KEY_LENGTH,
    compose,
    decode_i64,
    decode_text,
    decode_timestamp,
    decode_timestamp_ns,
    decode_u64,
    decode_uuid,
    decompose,
    format_bound,
    i64,
    pad,
    parse_bound,
    timestamp,
    u64,
    unhashed,
    uuid,
)
from dstk.keys.layout import Layout
from dstk.keys.parts import Part, digest, hashed, raw, text, uint

__all__ = [
    "MAX_KEY_LENGTH",
    "Layout",
    "Part",
    "RangeIndex",
    "bounds_at",
    "compose",
    "decode_i64",
    "decode_text",
    "decode_timestamp",
    "decode_timestamp_ns",
    "decode_u64",
    "decode_uuid",
    "decompose",
    "digest",
    "even_bounds",
    "format_bound",
    "hashed",
    "i64",
    "pad",
    "parse_bound",
    "raw",
    "sampled_cuts",
    "text",
    "timestamp",
    "u64",
    "uint",
    "unhashed",
    "uuid",
]
