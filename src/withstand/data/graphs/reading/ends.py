"""Which columns of an edge list are an edge's ends, and whether its first line names them."""

import re
from collections.abc import Sequence
from typing import Any

from withstand.core.errors import DataError
from withstand.data.tables.distinct import trimmed
from withstand.data.tables.frame import NUMBER, short

PAIRS = (
    ("source", "target"), ("source", "destination"), ("source", "dest"), ("source", "sink"), ("src", "dst"),
    ("src", "dest"), ("src", "tgt"), ("src", "trg"), ("from", "to"), ("fromnode", "tonode"), ("fromnodeid", "tonodeid"),
    ("fromid", "toid"), ("sourceid", "targetid"), ("sourcenode", "targetnode"), ("sourcenodeid", "targetnodeid"),
    ("sourceid", "destinationid"), ("srcid", "dstid"), ("start", "end"), ("startid", "endid"), ("startnode", "endnode"),
    ("origin", "destination"), ("sender", "receiver"), ("sender", "recipient"), ("citing", "cited"),
    ("follower", "followee"), ("u", "v"), ("i", "j"),
)  # fmt: skip
"""Names of an edge's ends in lower case without signs, those that go first before the others."""
_TWINS = tuple(
    (f"{stem}{one}", f"{stem}{other}")
    for stem in ("node", "nodeid", "id", "vertex", "entity")
    for one, other in (("1", "2"), ("0", "1"), ("a", "b"))
) + tuple(
    (f"{stem}{one}id", f"{stem}{other}id") for stem in ("node", "vertex") for one, other in (("1", "2"), ("0", "1"))
)


def ends_of(names: Sequence[str]) -> tuple[int, int] | None:
    """Return the places of the two ends among columns' names, or None where no names are known.

    >>> ends_of(["weight", "Dst", "Src"]), ends_of(["node_1", "node_2"]), ends_of(["a", "fish"])
    ((2, 1), (0, 1), None)
    """
    plain = [re.sub(r"[\W_]", "", name.lower()) for name in names]
    for one, other in (*PAIRS, *_TWINS):
        if one in plain and other in plain:
            return plain.index(one), plain.index(other)
    return None


def first_line_names(first: Sequence[str], below: Sequence[Any], nodes: Any = None) -> bool:
    """Say whether an edge list's first line names its columns.

    It does where its words name two ends and no node below is called so or alike (w below u, node7 below node1), where
    words stand over numbers, and where the table of nodes does not have them. It does not where it holds numbers as the
    lines below do, or nodes that stand below again or in the table of nodes.

    Args:
        first: the first line's fields.
        below: Arrow columns of strings: the other lines.
        nodes: all nodes' names, Arrow strings in chunks, where a table names them.

    Raises:
        DataError: both are possible.
    """
    from pyarrow import array, compute

    known = ends_of(first)
    places = known or (0, 1)
    own = [first[place] for place in places]
    listed = [trimmed(chunk) for place in places for chunk in below[place].chunks]
    named = listed if nodes is None else nodes.chunks
    again = [any(compute.any(compute.equal(chunk, field)).as_py() for chunk in named) for field in own]
    # Words of one letter or with a number may well be nodes.
    alike = "|".join(re.escape(re.sub(r"\d", "", field)) for field in own if re.search(r"\d", field))
    shape = rf"^({alike})\d+$" if alike else "^[[:alpha:]]$" if max(map(len, own)) == 1 else None
    nodes_alike = shape is not None and any(
        compute.any(compute.match_substring_regex(chunk, shape)).as_py() for chunk in listed
    )
    if known is not None and not any(again) and not nodes_alike:
        return True
    if any(again) and (known is None or nodes is not None):
        return False
    numbers = compute.match_substring_regex(array(own), f"^{NUMBER}$").to_pylist()
    if known is None and all(numbers):
        return False
    if known is None and not any(numbers) and len(below[0]):
        over = [compute.all(compute.match_substring_regex(chunk, f"^{NUMBER}$"), min_count=0) for chunk in listed]
        if nodes is not None or all(one.as_py() for one in over):
            return True
        if any(_over_numbers(field, column) for field, column in zip(first[2:], below[2:], strict=True)):
            return True
    raise DataError(
        f"the first line ({', '.join(map(short, first[:4]))}) may name the columns or be the first edge: say "
        "header=True (--header) or header=False (--no-header)"
    )


def _over_numbers(field: str, column: Any) -> bool:
    """Say whether a word stands over numbers alone."""
    from pyarrow import compute

    pattern = rf"^\s*{NUMBER}\s*$"
    return not re.fullmatch(NUMBER, field) and bool(compute.all(compute.match_substring_regex(column, pattern)).as_py())
