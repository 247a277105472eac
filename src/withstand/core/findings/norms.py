"""How norms are spelled wherever people read them; in settings and in the names of figures they are "linf", "l2"."""

import re


def norms(words: str) -> str:
    """Return words with norms as the field writes them.

    >>> norms("robust accuracy, linf 8/255"), norms("accuracy against eps, l2")
    ('robust accuracy, Linf 8/255', 'accuracy against eps, L2')
    """
    return re.sub(r"\bl(inf|0|1|2)\b", r"L\1", words)
