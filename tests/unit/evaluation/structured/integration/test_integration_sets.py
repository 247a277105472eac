"""Sets from pairs, and how alike two collections of sets are, against their closed forms."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from withstand.core.errors import ConfigError, DataError
from withstand.evaluation.structured.integration.sets import discover_sets, set_similarity


def pairs(*edges: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    held = np.array(edges, dtype=np.int64).reshape(-1, 2)
    return held[:, 0], held[:, 1]


def clique(*nodes: int) -> list[tuple[int, int]]:
    return list(itertools.combinations(nodes, 2))


def test_cliques_of_two_triangles_that_share_a_node_are_the_two() -> None:
    edges = pairs(*clique(0, 1, 2), *clique(2, 3, 4))
    assert discover_sets(6, *edges, rule="cliques") == ((0, 1, 2), (2, 3, 4), (5,))
    assert discover_sets(6, *edges, rule="components") == ((0, 1, 2, 3, 4), (5,))


@pytest.mark.parametrize("rule", ["louvain", "components", "cliques"])
def test_blocks_come_back_as_they_are(rule: str) -> None:
    edges = pairs(*clique(0, 1, 2, 3), *clique(5, 6), *clique(7, 8, 9))
    assert discover_sets(10, *edges, rule=rule) == ((0, 1, 2, 3), (4,), (5, 6), (7, 8, 9))  # type: ignore[arg-type]
    assert discover_sets(3, *pairs(), rule=rule) == ((0,), (1,), (2,))  # type: ignore[arg-type]


def test_communities_hold_against_one_false_pair_that_glues_components() -> None:
    edges = pairs(*clique(0, 1, 2), *clique(3, 4, 5), (2, 3))
    assert discover_sets(6, *edges, rule="components") == ((0, 1, 2, 3, 4, 5),)
    for seed in range(3):
        assert discover_sets(6, *edges, rule="louvain", seed=seed) == ((0, 1, 2), (3, 4, 5))
    assert discover_sets(3, *pairs((0, 1), (1, 2))) == ((0, 1, 2),), "a chain of three is one entity"


def test_bad_pairs_are_refused() -> None:
    with pytest.raises(DataError, match="itself"):
        discover_sets(3, *pairs((1, 1)))
    with pytest.raises(DataError, match="0 to 2"):
        discover_sets(3, *pairs((1, 3)))
    with pytest.raises(ConfigError, match="louvain"):
        discover_sets(3, *pairs((0, 1)), rule="louvan")  # type: ignore[arg-type]


def test_similarity_in_closed_form() -> None:
    true = ((0, 1, 2), (3, 4), (5,))
    assert set_similarity(true, true) == 1
    assert set_similarity(true, ((5,), (0, 1, 2), (3, 4))) == 1
    assert set_similarity(true, (tuple(range(6)),)) == pytest.approx(0.5 / 3)
    assert set_similarity((tuple(range(6)),), true) == pytest.approx(0.5 / 3)
    with pytest.raises(DataError):
        set_similarity(true, ())


PARTITION = st.lists(st.integers(0, 3), min_size=1, max_size=6)


def parts(labels: list[int]) -> list[tuple[int, ...]]:
    return [tuple(np.flatnonzero(np.array(labels) == label).tolist()) for label in sorted(set(labels))]


@given(PARTITION, st.randoms())
@settings(max_examples=40, deadline=None)
def test_similarity_equals_a_search_over_all_assignments(labels: list[int], random: object) -> None:
    one = parts(labels)
    two = parts([random.randint(0, 2) for _ in labels])  # type: ignore[attr-defined]
    few, many = sorted((one, two), key=len)

    def jaccard(a: tuple[int, ...], b: tuple[int, ...]) -> float:
        return len(set(a) & set(b)) / len(set(a) | set(b))

    best = max(
        sum(jaccard(a, b) for a, b in zip(few, chosen, strict=True))
        for chosen in itertools.permutations(many, len(few))
    )
    assert set_similarity(one, two) == pytest.approx(best / len(many))
    assert set_similarity(two, one) == pytest.approx(best / len(many))
