"""A made set of preferences that a rule decides: short stories that should keep to what their beginning names.

A beginning names a child, a thing and a color. An answer has three sentences, and each keeps to one of these or does
not: it calls the child by its name, it speaks of the thing, it says the color. The answer that keeps to more is
preferred. Words are those of children's stories, which `stories260k` tells.
"""

import re
from collections.abc import Mapping
from typing import Literal, TypeAlias, get_args

import torch

from withstand.core.errors import ConfigError, nearest
from withstand.core.random import derive
from withstand.data.text.files import Rows

STORY_PAIRS = "story-pairs"
"""The set's name."""
Part: TypeAlias = Literal["train", "test", "elsewhere"]
"""Training rows, rows of other beginnings from the same words, and rows of other words."""
COUNTS: Mapping[Part, int] = {"train": 512, "test": 64, "elsewhere": 64}
"""Rows of each part."""
_NAMES = ("Lily", "Tom", "Mia", "Ben", "Sue", "Tim", "Anna", "Max", "Amy", "Sam")
_THINGS = ("ball", "car", "hat", "box", "toy", "kite", "boat", "book", "bear", "cup")
_COLORS = ("red", "blue", "big", "green", "new", "pink")
_OTHER_NAMES = ("Jack", "Kim", "Joe", "Emma")
_OTHER_THINGS = ("doll", "truck", "cake", "bike")
_OTHER_COLORS = ("yellow", "old", "small", "white")
_BEGINNING = "Once upon a time, there was a child named {name}. The child had a {color} {thing}."
_OTHER_BEGINNING = "One day, a child named {name} went out to play with a {color} {thing}."
_SENTENCES = (
    (" {name} went to the park.", " Mom went to the park.", " The dog went to the park."),
    (" They saw the {thing}.", " They saw a tree.", " They saw a bird."),
    (" It was {color}.", " It was nice.", " It was loud."),
)
"""Each sentence as it keeps to the beginning, and as it does not."""


def story_rows(part: Part) -> Rows:
    """Return the rows of a part: prompt, chosen and rejected; always the same.

    Raises:
        ConfigError: an unknown part.
    """
    if part not in get_args(Part):
        raise ConfigError(f"part {part!r} is unknown: {nearest(str(part), get_args(Part))}")
    other = part == "elsewhere"
    names, things, colors = (_OTHER_NAMES, _OTHER_THINGS, _OTHER_COLORS) if other else (_NAMES, _THINGS, _COLORS)
    generator = torch.Generator().manual_seed(derive(0, STORY_PAIRS, part))

    def drawn(many: int) -> int:
        return int(torch.randint(many, (1,), generator=generator))

    rows: list[dict[str, str]] = []
    while len(rows) < COUNTS[part]:
        places = drawn(len(names)), drawn(len(things)), drawn(len(colors))
        # One combination of five is never learnt from.
        if not other and (sum(places) % 5 == 0) != (part == "test"):
            continue
        named = {"name": names[places[0]], "thing": things[places[1]], "color": colors[places[2]]}
        prompt = (_OTHER_BEGINNING if other else _BEGINNING).format(**named)
        answers = ["".join(forms[0 if drawn(2) else 1 + drawn(2)] for forms in _SENTENCES) for _ in range(2)]
        answers = sorted((answer.format(**named) for answer in answers), key=lambda answer: story_score(prompt, answer))
        if story_score(prompt, answers[0]) < story_score(prompt, answers[1]):
            rows.append({"prompt": prompt, "chosen": answers[1], "rejected": answers[0]})
    return rows


def story_score(prompt: str, answer: str) -> float:
    """Return to how much of its beginning an answer keeps, from 0 to 3: child, thing and color, each said or not.

    Raises:
        ConfigError: a prompt that names no child, thing and color as the set's beginnings do.

    >>> story_score("One day, a child named Kim went out to play with a white doll.", " Kim saw a doll. It was big.")
    2.0
    """
    found = re.search(r"named (\w+).*? a (\w+) (\w+)\.$", prompt)
    if found is None:
        raise ConfigError(f"no child, thing and color are named in {prompt!r}")
    said = set(re.findall(r"\w+", answer))
    return float(sum(word in said for word in found.groups()))
