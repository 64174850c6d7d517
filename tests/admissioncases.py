"""What an API server admits of our kinds and what it refuses, object by object: for every API server there is."""

from __future__ import annotations

from typing import Any

from dstk.api import API_VERSION

__all__ = ["BAD", "CHANGES", "GOOD", "keyspace", "resource"]

Json = dict[str, Any]


def resource(kind: str, spec: Json, status: Json | None = None, name: str = "x") -> Json:
    """An object of ours."""
    found: Json = {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}
    return found if status is None else {**found, "status": status}


def keyspace(**spec: Any) -> Json:
    return resource("Keyspace", {"keyLength": 16, **spec})


def partition(start: Any = "a", end: Any = "o", **spec: Any) -> Json:
    return resource("Partition", {"range": {"start": start, "end": end}, **spec})


def assignment(type_: str, **params: Any) -> Json:
    return resource("Assignment", {"type": type_, **params})


def ended(phase: str | None, **status: Any) -> Json:
    return resource(
        "Assignment",
        {"type": "New", "newParams": {"partition": "p", "primary": "w-0"}},
        {**({"phase": phase} if phase else {}), **status},
    )


NEW = {"partition": "p", "primary": "w-0"}
SPLIT = {"partition": "p", "splitKey": "e"}
MERGE = {"partitions": ["p", "q"]}
MOVE = {"partition": "p", "from": "w-0", "to": "w-1"}

GOOD = {
    "the least a Keyspace needs": keyspace(),
    "a Keyspace of one-byte keys, cut at each": keyspace(keyLength=1, partitions={"initial": 256}),
    "a Keyspace cut at text": keyspace(partitions={"bounds": ["cart/", "user/5", "ö"]}),
    "a Keyspace cut at hex": keyspace(partitions={"bounds": ["0x40", "0xa0", "0xFF"]}),
    "bounds of both spellings: only the operator can tell": keyspace(partitions={"bounds": ["z", "0x61"]}),
    "bounds in capital letters: only the operator can tell": keyspace(partitions={"bounds": ["0xFF", "0xaa"]}),
    "a Keyspace cut at the last byte of long keys": keyspace(keyLength=2, partitions={"bounds": ["0x0001", "0xffff"]}),
    "no bounds beside a number": keyspace(partitions={"initial": 4, "bounds": []}),
    "a range without bounds": resource("Partition", {"range": {}}),
    "a range without end": partition("a", ""),
    "hex bounds": partition("0x00ff", "0xFF"),
    "text below hex": partition("`~", "0x61"),
    "hex below text": partition("0x61", "a!"),
    "no start and a hex end": partition("", "0x01"),
    "the same 32 characters in hex, and more": partition("a" * 33, "0x" + "61" * 32 + "62"),
    "hex that is the beginning of a text": partition("0x6161", "aaa"),
    "text above hex that is no ASCII: only the operator can tell": partition("ö", "0x61"),
    "text bounds in UTF-8": partition("a", "ö"),
    "the longest bound": partition("0x" + "00" * 1024, ""),
    "a part that was merged away": partition(proxy="w-0", epoch=3),
    "New": assignment("New", newParams=NEW),
    "New for several": assignment("New", newParams={"partitions": ["p", "q"], "primary": "w-0"}),
    "InWorkerSplit": assignment("InWorkerSplit", splitParams=SPLIT),
    "InWorkerSplit at several keys": assignment(
        "InWorkerSplit", splitParams={"partition": "p", "splitKeys": ["b", "c"], "names": ["x", "y", "z"]}
    ),
    "InWorkerMerge": assignment("InWorkerMerge", mergeParams=MERGE),
    "InterWorkerMove": assignment("InterWorkerMove", moveParams=MOVE, reason="because"),
}


BAD = {
    "no key length": (resource("Keyspace", {}), "spec.keyLength"),
    "a key length of 0": (keyspace(keyLength=0), "greater than or equal to 1"),
    "a key length above 1024": (keyspace(keyLength=1025), "less than or equal to 1024"),
    "more partitions than keys": (keyspace(keyLength=1, partitions={"initial": 257}), "not so many keys"),
    "too many partitions": (keyspace(partitions={"initial": 100_001}), "100000"),
    "bounds beside a number": (keyspace(partitions={"initial": 4, "bounds": ["a"]}), "not both"),
    "bounds that descend": (keyspace(partitions={"bounds": ["b", "a"]}), "bounds must be sorted"),
    "hex bounds that descend": (keyspace(partitions={"bounds": ["0xff", "0xaa"]}), "must be sorted"),
    "a bound twice": (keyspace(partitions={"bounds": ["a", "a"]}), "spec.partitions.bounds"),
    "a bound of half a byte": (keyspace(partitions={"bounds": ["0xabc"]}), "two hex digits"),
    "an empty bound": (keyspace(partitions={"bounds": [""]}), "spec.partitions.bounds"),
    "a bound that YAML took for a number": (keyspace(partitions={"bounds": [0x40]}), "string"),
    "text that no key has room for": (keyspace(keyLength=4, partitions={"bounds": ["abcde"]}), "longer than keyLength"),
    "hex that no key has room for": (keyspace(keyLength=1, partitions={"bounds": ["0x0102"]}), "longer than keyLength"),
    "too many bounds": (keyspace(partitions={"bounds": [f"0x{i:04x}" for i in range(1, 1025)]}), "1023"),
    "an unknown durability": (keyspace(durability="Tape"), "durability"),
    "an unknown mode": (keyspace(policy={"mode": "Always"}), "policy.mode"),
    "merging what would be split": (keyspace(policy={"maxRows": 10, "mergeBelowRows": 6}), "half of maxRows"),
    "joining quiet partitions that are busy enough to be split": (
        keyspace(policy={"maxOpsPerSecond": 100, "mergeBelowOpsPerSecond": 51}),
        "half of maxOpsPerSecond",
    ),
    "a lease for what is on disk": (keyspace(failover="Lease", durability="Disk"), "is for durability Memory"),
    "a name that is too long": (
        {**keyspace(), "metadata": {"name": "k" * 64}},
        "at most 63 characters",
    ),
    "no range": (resource("Partition", {}), "spec.range"),
    "a bound that is a number": (partition(start=1), "string"),
    "start above end": (partition("o", "a"), "start must be below end"),
    "start at end": (partition("a", "a"), "start must be below end"),
    "hex start above end, in other letters": (partition("0xFF", "0xaa"), "start must be below end"),
    "hex start above a text": (partition("0x62", "a~"), "start must be below end"),
    "hex start that is the text": (partition("0x75736572", "user"), "start must be below end"),
    "a text that goes on after its end in hex": (partition("a" * 33, "0x" + "61" * 32), "start must be below end"),
    "text above a hex end": (partition("b", "0x61FF"), "start must be below end"),
    "text with a quote and a backslash above a hex end": (partition("it's\\", "0x69742773"), "start must be below end"),
    "half a byte": (partition("0xabc", ""), "two hex digits"),
    "hex without digits": (partition("a", "0x"), "two hex digits"),
    "a bound longer than any key": (partition("a" * 2051, ""), "2050"),
    "a pod that proxies for itself": (partition(primary="w-0", proxy="w-0"), "another pod than primary"),
    "a pod name that is none": (partition(primary="W_0"), "spec.primary"),
    "a negative epoch": (partition(epoch=-1), "spec.epoch"),
    "no params": (assignment("New"), "newParams is what type New takes"),
    "two params": (assignment("New", newParams=NEW, moveParams=MOVE), "moveParams is what type InterWorkerMove takes"),
    "params of another type": (assignment("InWorkerSplit", moveParams=MOVE), "splitParams is what type"),
    "an unknown type": (assignment("Teleport", newParams=NEW), "spec.type"),
    "New for nothing": (assignment("New", newParams={"primary": "w-0"}), "either partition or partitions"),
    "New both ways": (
        assignment("New", newParams={**NEW, "partitions": ["q"]}),
        "either partition or partitions",
    ),
    "New without a pod": (assignment("New", newParams={"partition": "p"}), "primary"),
    "New for too many": (
        assignment("New", newParams={"partitions": [f"p{i}" for i in range(1001)], "primary": "w-0"}),
        "1000",
    ),
    "a split without a key": (assignment("InWorkerSplit", splitParams={"partition": "p"}), "either splitKey or"),
    "a split with both": (
        assignment("InWorkerSplit", splitParams={**SPLIT, "splitKeys": ["f"]}),
        "either splitKey or splitKeys",
    ),
    "a split at an empty key": (assignment("InWorkerSplit", splitParams={**SPLIT, "splitKey": ""}), "splitKey"),
    "a split at half a byte": (
        assignment("InWorkerSplit", splitParams={**SPLIT, "splitKey": "0xabc"}),
        "two hex digits",
    ),
    "a merge with the params of a split": (
        assignment("InWorkerMerge", splitParams=SPLIT),
        "mergeParams is what type InWorkerMerge takes",
    ),
    "a split twice at one key": (
        assignment("InWorkerSplit", splitParams={"partition": "p", "splitKeys": ["b", "b"]}),
        "splitKeys",
    ),
    "a split with one name": (assignment("InWorkerSplit", splitParams={**SPLIT, "names": ["x"]}), "names"),
    "a split with a name too many": (
        assignment("InWorkerSplit", splitParams={**SPLIT, "names": ["x", "y", "z"]}),
        "one name more",
    ),
    "a piece named like the whole": (
        assignment("InWorkerSplit", splitParams={**SPLIT, "names": ["p", "y"]}),
        "cannot have the name of the partition",
    ),
    "a merge of one": (assignment("InWorkerMerge", mergeParams={"partitions": ["p"]}), "partitions"),
    "a merge of one twice": (assignment("InWorkerMerge", mergeParams={"partitions": ["p", "p"]}), "partitions"),
    "the whole named like a part": (
        assignment("InWorkerMerge", mergeParams={**MERGE, "name": "q"}),
        "cannot have the name of a part",
    ),
    "a move to where it is": (assignment("InterWorkerMove", moveParams={**MOVE, "to": "w-0"}), "another pod than from"),
}


OWNED = partition(primary="w-0", epoch=3)
RUNNING, COMPLETED = ended("Running"), ended("Completed", reason="Done")

CHANGES = {
    "a new owner in a new epoch": (OWNED, partition(primary="w-1", proxy="w-0", epoch=4), None),
    "the first owner": (partition(), partition(primary="w-0", epoch=1), None),
    "no owner any more": (OWNED, partition(proxy="w-0", epoch=3), None),
    "a new owner in the same epoch": (OWNED, partition(primary="w-1", epoch=3), "needs a higher epoch"),
    "an owner again in the same epoch": (partition(epoch=3), OWNED, "needs a higher epoch"),
    "an older epoch": (OWNED, partition(primary="w-0", epoch=2), "epoch never decreases"),
    "a far later epoch": (OWNED, partition(primary="w-0", epoch=3 + 65_537), "epoch grows by at most 65536 at a time"),
    "another range": (OWNED, partition("a", "p", primary="w-0", epoch=3), "range cannot change"),
    "another keyspace": (OWNED, partition(primary="w-0", epoch=3, keyspace="other"), "keyspace cannot change"),
    "another key length": (keyspace(), keyspace(keyLength=17), "keyLength cannot change"),
    "another durability": (keyspace(), keyspace(durability="Disk"), "durability cannot change"),
    "another failover": (keyspace(), keyspace(failover="Lease"), "failover cannot change"),
    "a longer lease": (keyspace(leaseSeconds=15), keyspace(leaseSeconds=20), None),
    "a shorter lease": (keyspace(leaseSeconds=15), keyspace(leaseSeconds=10), "can only grow"),
    "another policy": (keyspace(), keyspace(policy={"mode": "Off"}), None),
    "another destination": (
        assignment("InterWorkerMove", moveParams=MOVE),
        assignment("InterWorkerMove", moveParams={**MOVE, "to": "w-2"}),
        "spec cannot change",
    ),
    "from Running to Completed": (RUNNING, COMPLETED, None),
    "from Running to Stalled": (RUNNING, ended("Stalled"), None),
    "from Stalled to Running": (ended("Stalled"), RUNNING, None),
    "from Completed to Running": (COMPLETED, RUNNING, "stays as it ended"),
    "from Completed to nothing": (COMPLETED, ended(None), "stays as it ended"),
    "from Aborted to Completed": (ended("Aborted"), COMPLETED, "stays as it ended"),
    "a message after the end": (COMPLETED, ended("Completed", message="all is well"), None),
}
