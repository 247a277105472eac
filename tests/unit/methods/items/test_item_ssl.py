"""ItemSSL: which fields are hidden, what both losses are, and a user's own ratings through the whole path."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import mutual_info_score
from torch.nn.functional import cross_entropy, normalize

from withstand.cli.main import main
from withstand.core.errors import ConfigError, DataError
from withstand.data.interactions.source import Catalogue, Pairs
from withstand.evaluation.ranking import per_user, ranked, slices
from withstand.evaluation.structured.mutual_information import mutual_information
from withstand.methods.items.item_ssl import ItemSSL, correlated
from withstand.models.items.tower import FieldTower

pd = pytest.importorskip("pandas", reason="extra table")


def settings(**changed: object) -> ItemSSL:
    return ItemSSL(**{**ItemSSL.example()._init_args, **changed})  # type: ignore[arg-type]


def test_correlated_fields_are_hidden_with_the_drawn_one() -> None:
    information = [[3.0, 0.1, 0.9, 0.4], [0.1, 1.0, 0.2, 0.3], [0.9, 0.2, 2.0, 0.1], [0.4, 0.3, 0.1, 1.0]]
    assert correlated(information, 0).tolist() == [True, False, True, True]
    assert correlated(information, 1).tolist() == [False, True, True, True]
    for fields in range(2, 9):
        square = np.random.default_rng(fields).random((fields, fields))
        for seed in range(fields):
            hidden = correlated(square.tolist(), seed)
            assert bool(hidden[seed])
            assert int(hidden.sum()) == min(1 + fields // 2, fields - 1)


def test_random_halves_are_disjoint_and_change() -> None:
    method, batch = settings(augment="rfm"), ItemSSL.example().example_batch()
    seen = set()
    for step in range(12):
        hidden = method.hidden(replace(batch, step=step))
        assert hidden is not None
        assert int(hidden.sum()) == (len(hidden) + 1) // 2
        seen.add(tuple(hidden.tolist()))
    assert len(seen) > 2
    assert settings(augment="dropout").hidden(batch) is None


def test_a_hidden_field_tells_nothing_and_shares_no_value() -> None:
    torch.manual_seed(0)
    tower = FieldTower((10, 4, 3), (1, 2, 1), dim=4, hidden=(8,), width=6)
    x = torch.tensor([[1, 0, 2, 1], [5, 0, 2, 1]])
    hidden = torch.tensor([True, False, False])
    seen = tower(x, hidden)
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(tower(x)[0], tower(x)[1])
    # The mean over the values that are there, and nothing where there are none.
    one, both = torch.tensor([[1, 2, -1, 1]]), torch.tensor([[1, 2, 2, 1]])
    torch.testing.assert_close(tower(one), tower(both))
    kept = torch.tensor([[True, True, False, True]])
    torch.testing.assert_close(tower(torch.tensor([[1, 2, 3, 1]]), kept=kept), tower(one))
    with pytest.raises(DataError, match=r"whole numbers \(B, 4\)"):
        tower(torch.zeros(2, 3, dtype=torch.int64))


def test_both_losses_by_the_plain_formulas() -> None:
    method = settings(augment="identity", main_temperature=0.2).double()
    batch = method.example_batch()
    pairs = batch.beside["interactions"]
    z = normalize(method.encoder(batch.x))
    auxiliary = cross_entropy(z @ z.T / 0.1, torch.arange(8))
    query, item = normalize(method.query(pairs.x[:, :1])), normalize(method.encoder(pairs.x[:, 1:]))
    counts = method.catalogue.counts.double().clamp_min(1)
    logits = query @ item.T / 0.2 - (counts / counts.sum()).log().float().double()[pairs.extras["item"]]
    same = (pairs.extras["item"][:, None] == pairs.extras["item"]) & ~torch.eye(8, dtype=torch.bool)
    main_loss = cross_entropy(logits.masked_fill(same, -torch.inf), torch.arange(8))
    terms = method.step(batch)
    torch.testing.assert_close(terms["auxiliary"], auxiliary)
    torch.testing.assert_close(terms["main"], main_loss)
    torch.testing.assert_close(terms["loss"], main_loss + 0.3 * auxiliary)
    plain = settings(alpha=0.0).step(batch)
    assert plain["loss"] == plain["main"]


def test_the_loss_on_items_reaches_the_shared_tower_and_not_the_peoples() -> None:
    method = ItemSSL.example()
    one, two = method.versions(method.example_batch())
    (one.sum() + two.sum()).backward()
    tables = list(method.encoder.tables.parameters())
    assert all(table.grad is not None for table in tables)
    assert all(parameter.grad is None for parameter in method.query.parameters())


def test_mutual_information_is_scikit_learns() -> None:
    draws = np.random.default_rng(0)
    a = draws.integers(0, 4, 300)
    b = np.where(draws.random(300) < 0.5, a, draws.integers(0, 4, 300))
    several = np.stack([draws.integers(0, 3, 300), np.where(a > 1, 5, -1)], 1)
    found = mutual_information(np.column_stack([a, b, a, several]), {"a": (0,), "b": (1,), "twin": (2,), "s": (3, 4)})
    assert found[0, 1] == pytest.approx(mutual_info_score(a, b))
    share = np.bincount(a) / 300
    assert found[0, 2] == pytest.approx(-(share * np.log(share)).sum())
    assert np.allclose(found, found.T)
    pairs = [(x, v) for x, row in zip(a, several, strict=True) for v in row if v >= 0]
    assert found[0, 3] == pytest.approx(mutual_info_score(*zip(*pairs, strict=True)))
    independent = np.array([[x, y] for x in range(3) for y in range(4)])
    assert mutual_information(independent, {"x": (0,), "y": (1,)})[0, 1] == pytest.approx(0, abs=1e-12)


def test_rankings_by_a_plain_loop() -> None:
    catalogue = Catalogue.example()
    table = torch.rand(len(catalogue.users), len(catalogue), generator=torch.Generator().manual_seed(0))
    found = ranked(lambda users: table[users], catalogue, 3, at_once=3)
    values = per_user(found, catalogue)
    for row, user in enumerate(found.users.tolist()):
        train = {item for who, item in catalogue.pairs["train"].tolist() if who == user}
        test = {item for who, item in catalogue.pairs["test"].tolist() if who == user}
        order = sorted((item for item in range(10) if item not in train), key=lambda item: -float(table[user, item]))
        top = order[:3]
        assert found.top[row].tolist() == top
        assert float(values["recall"][row]) == pytest.approx(len(test & set(top)) / len(test))
        gain = sum(1 / math.log2(place + 2) for place, item in enumerate(top) if item in test)
        ideal = sum(1 / math.log2(place + 2) for place in range(min(3, len(test))))
        assert float(values["NDCG"][row]) == pytest.approx(gain / ideal)
        assert bool(values["hit rate"][row]) == bool(test & set(top))
    parts = slices(catalogue, few=3)
    assert bool(torch.stack(list(parts.values())).sum(0).eq(1).all())
    cold = torch.zeros(10, dtype=torch.bool)
    cold[catalogue.pairs["test"][0, 1]] = True
    assert set(ranked(lambda users: table[users], catalogue, 1, among=cold).top.flatten().tolist()) == {
        int(catalogue.pairs["test"][0, 1])
    }


def test_equal_scores_gain_nothing_by_the_order_of_the_catalogue() -> None:
    """All take one of the items that are listed first: scores that are all alike must not name just these."""
    count, users = 1000, 30
    rows = [(user, item) for user in range(users) for item in [*range(6 + user, count, users), user % 6]]
    held = {"user": [row[0] for row in rows], "item": [f"{row[1]:03}" for row in rows], "time": range(len(rows))}
    catalogue = Catalogue(pd.DataFrame(held), fraction=0.04)
    assert len(catalogue) == count
    assert sorted(catalogue.pairs["test"][:, 1].tolist()) == sorted(user % 6 for user in range(users))
    found = ranked(lambda some: torch.zeros(len(some), count), catalogue, 6, at_once=7)
    assert float(per_user(found, catalogue)["recall"].mean()) < 0.1
    assert len(set(found.top[0].tolist())) == 6
    again = ranked(lambda some: torch.zeros(len(some), count), catalogue, 6)
    assert torch.equal(found.top, again.top), "the same again, however many users are ranked at once"


def test_items_are_drawn_evenly_and_interactions_by_how_often_they_are() -> None:
    catalogue = Catalogue.example()
    pairs = Pairs(catalogue)
    items = pairs[torch.arange(len(pairs))].extras["item"]
    assert torch.bincount(items, minlength=10).tolist() == catalogue.counts.tolist()


def test_recommendations_leave_out_what_was_taken() -> None:
    method = ItemSSL.example().eval()
    (titles,) = method.recommend(["u1"], k=2)
    taken = {method.catalogue.names[item] for item in method.catalogue.seen_by(torch.tensor([1]))[0].tolist()}
    assert len(titles) == 2
    assert not taken & set(titles)
    with pytest.raises(ConfigError, match="k must lie"):
        method.recommend(["u1"], k=10)
    with pytest.raises(DataError, match="'nobody'"):
        method.recommend(["nobody"])


def test_what_does_not_fit_is_refused() -> None:
    catalogue = Catalogue({"user": ["a", "a", "b", "b"], "item": ["x", "y", "x", "z"]})
    query, tower = FieldTower((2,), (1,)), FieldTower((3,), (1,))
    with pytest.raises(ConfigError, match="items have one field, 'item itself': hiding needs two"):
        ItemSSL(query, tower, catalogue)
    ItemSSL(query, tower, catalogue, augment="identity")
    with pytest.raises(ConfigError, match="mutual information of 4 x 4"):
        settings(information=[[1.0]])
    with pytest.raises(DataError, match="interactions beside"):
        ItemSSL.example().step(Catalogue.example()[range(4)])


@pytest.mark.thorough
def test_a_users_ratings_go_the_whole_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draws = np.random.default_rng(0)
    rows = [(user, item) for user in range(20) for item in range(30) if item % 2 == user % 2 and draws.random() < 0.6]
    ratings = pd.DataFrame(rows, columns=["user", "item"])
    ratings["timestamp"] = draws.permutation(len(ratings))
    ratings.to_csv(tmp_path / "ratings.csv", index=False)
    items = pd.DataFrame({"item": range(32), "title": [f"film {item}" for item in range(32)]})
    items["genre"] = [("war", "love")[item % 2] for item in range(32)]
    items["tags"] = [("old|grim", "new|warm")[item % 2] for item in range(32)]
    items.to_csv(tmp_path / "items.csv", index=False)
    run, data = str(tmp_path / "run"), ["--data", str(tmp_path / "ratings.csv"), "--items", str(tmp_path / "items.csv")]
    told = "train item-ssl --epochs 2 --batch 16 --width 16 --dim 8 --hidden 32 --quiet --out"
    assert main([*told.split(), run, *data]) == 0
    assert main(["probe", run]) == 0
    shown = capsys.readouterr().out
    assert "recall at 20" in shown
    assert main(["embed", run, "--out", str(tmp_path / "codes.npz")]) == 0
    with np.load(tmp_path / "codes.npz") as codes:
        assert codes["x"].shape == (32, 16)
    assert main(["audit", run, "--samples", "5"]) == 0
    assert "one field rewritten" in capsys.readouterr().out
    pd.DataFrame({"user": [3, 4]}).to_csv(tmp_path / "users.csv", index=False)
    assert main(["apply", run, "--data", str(tmp_path / "users.csv"), "--out", str(tmp_path / "for")]) == 0
    table = pd.read_csv(tmp_path / "for" / "table.csv")
    assert table["recommended 1"].str.startswith("film").all()
    assert main(["apply", run, "--out", str(tmp_path / "like")]) == 0
    assert len(pd.read_csv(tmp_path / "like" / "table.csv")) == 32
    assert main(["report", run]) == 0
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "items" in page
    assert "recall at 20" in page.lower()
    capsys.readouterr()
    pd.DataFrame({"user": [99]}).to_csv(tmp_path / "users.csv", index=False)
    assert main(["apply", run, "--data", str(tmp_path / "users.csv"), "--out", str(tmp_path / "no")]) == 2
    assert "no interactions to learn from" in capsys.readouterr().err
