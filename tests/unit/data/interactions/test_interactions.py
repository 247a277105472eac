"""Tables of users and items: recognised when certain, divided by time, and held against the catalogue."""

from pathlib import Path

import pytest
import torch

from withstand.core.errors import ConfigError, DataError
from withstand.data.interactions.source import Catalogue, Pairs, Users, is_ratings
from withstand.data.interactions.table import columns_of, read_interactions
from withstand.data.load import load
from withstand.data.tables.source import TableSource

pd = pytest.importorskip("pandas", reason="extra table")

RATINGS = {
    "userId": [1, 1, 1, 2, 2, 2, 2, 2, 3],
    "movieId": [10, 20, 30, 10, 20, 30, 40, 50, 50],
    "rating": [4.0, 5.0, 1.0, 3.0, 3.0, 5.0, 4.0, 2.0, 5.0],
    "timestamp": [30, 10, 20, 5, 4, 3, 2, 1, 9],
}
MOVIES = {
    "movieId": [10, 20, 30, 40, 50],
    "title": ["Red Dawn (1984)", "Red Sun (1971)", "Blue Sun (1988)", "Blue Dawn (1979)", "Red Sun (1971)"],
    "genres": ["War|Action", "Action", "Drama|War", "Drama", "War"],
    "length": [100.5, 98.0, 120.0, 99.0, 101.0],
}


@pytest.fixture
def ratings(tmp_path: Path) -> Path:
    pd.DataFrame(RATINGS).to_csv(tmp_path / "ratings.csv", index=False)
    return tmp_path / "ratings.csv"


def made(ratings: Path, **settings: object) -> Catalogue:
    return Catalogue(ratings, pd.DataFrame(MOVIES), **settings)  # type: ignore[arg-type]


def test_what_columns_are_is_certain_or_not_said() -> None:
    assert columns_of(["user_id", "Item ID", "rating", "ts"]) is not None
    for others in (["user", "item", "price"], ["user", "userid", "item"], ["user", "rating"], ["movieId", "title"], []):
        assert columns_of(others) is None


def test_load_takes_a_table_of_ratings_for_interactions(ratings: Path, tmp_path: Path) -> None:
    source = load(ratings)
    assert isinstance(source, Catalogue)
    assert source.kind == "item"
    assert len(source) == 5
    assert isinstance(load(pd.DataFrame(RATINGS)), Catalogue)
    pd.DataFrame({**RATINGS, "price": range(9)}).to_csv(tmp_path / "orders.csv", index=False)
    assert not is_ratings(tmp_path / "orders.csv")
    assert isinstance(load(tmp_path / "orders.csv"), TableSource)
    asked = Catalogue(tmp_path / "orders.csv", user="userId", item="movieId")
    assert asked.pairs["train"].shape[1] == 2


def test_each_users_latest_interactions_are_held_out(ratings: Path) -> None:
    source = made(ratings, fraction=0.4)
    held = {(source.users[user], source.ids[item]) for user, item in source.pairs["test"].tolist()}
    assert held == {("1", "10"), ("2", "20"), ("2", "10")}
    assert len(source.pairs["train"]) == 6
    assert source.counts.tolist() == [0, 1, 2, 1, 2]


def test_without_times_a_random_share_is_held_out_and_said(ratings: Path) -> None:
    table = pd.read_csv(ratings).drop(columns="timestamp")
    one, two = (Catalogue(table, seed=seed) for seed in (0, 1))
    assert "no times: a random 20% of each user's interactions are held out" in one.origin
    assert len(one.pairs["test"]) == len(two.pairs["test"]) == 2
    assert one.fingerprint() != two.fingerprint()


def test_cold_items_have_no_training_interaction(ratings: Path) -> None:
    source = made(ratings, cold=0.4)
    assert int((source.counts == 0).sum()) >= 2
    assert len(source.pairs["train"]) + len(source.pairs["test"]) == 9


def test_fields_of_a_catalogue(ratings: Path) -> None:
    source = made(ratings)
    fields = {field.name: field for field in source.columns}
    assert fields["genres"].values == ("War", "Action", "Drama")
    assert fields["title"].values == ("red", "sun", "blue", "dawn")
    assert set(fields["title decade"].values) == {"1970s", "1980s"}
    assert "length" in fields
    row = {name: source[[0]].x[0, list(columns)].tolist() for name, columns in source.fields.items()}
    assert sorted(fields["genres"].values[at] for at in row["genres"]) == ["Action", "War"]
    assert [fields["title"].values[at] for at in row["title"]] == ["red", "dawn"]
    assert source.names == ("Red Dawn (1984)", "Red Sun (1971) [20]", "Blue Sun (1988)", "Blue Dawn (1979)",
                            "Red Sun (1971) [50]")  # fmt: skip
    assert len(made(ratings, identity=False).columns) == len(fields) - 1


def test_pairs_and_users_name_what_they_hold(ratings: Path) -> None:
    source = made(ratings)
    pairs = Pairs(source, "train")[range(3)]
    torch.testing.assert_close(pairs.x[:, 1:], source.codes[pairs.extras["item"]])
    assert Users(source, ("3", "1"))[[0, 1]].extras["user"].tolist() == [2, 0]
    other = source.like(pd.DataFrame({"user": [2, 2, 1]}))
    assert isinstance(other, Users)
    assert other.names == ("2", "1") or other.names == ("1", "2")


def test_repeated_and_low_ratings(ratings: Path) -> None:
    table = pd.concat([pd.read_csv(ratings)] * 2)
    found, _ = read_interactions(table, least=3.0)
    assert len(found) == 7
    assert any("repeated" in note for note in found.notes)
    assert any("2" in note and "below 3" in note for note in found.notes) or any("4" in note for note in found.notes)


def test_what_does_not_fit_is_refused_in_one_line(ratings: Path) -> None:
    movies = pd.DataFrame(MOVIES)
    with pytest.raises(DataError, match="lacks 2 of 5 items, the first '40', '50'"):
        Catalogue(ratings, movies[:3])
    with pytest.raises(DataError, match="1 items stand twice"):
        Catalogue(ratings, pd.concat([movies, movies[:1]]))
    with pytest.raises(DataError, match="no column is known to be the item"):
        Catalogue(pd.DataFrame({"user": [1, 2], "what": [3, 4]}))
    with pytest.raises(DataError, match="1 users have no interactions to learn from, the first '9'"):
        Users(made(ratings), ("1", "9"))
    with pytest.raises(ConfigError, match="fraction"):
        made(ratings, fraction=1.0)
    with pytest.raises(DataError, match="name no other data"):
        made(ratings).like(ratings, "train")


def written(path: Path, lines: list[str], *, end: str = "\n", encoding: str = "utf-8") -> Path:
    path.write_bytes(end.join([*lines, ""]).encode(encoding))
    return path


@pytest.mark.parametrize(
    "ids", [["1.10", "1.1"], ["1E5", "100000"], ["2024-01-05", "2024-01-06"], ["007", "7"], ["1,234", "1.234"]]
)
@pytest.mark.parametrize("named", [True, False])
def test_names_of_users_and_items_stay_as_they_stand(tmp_path: Path, ids: list[str], named: bool) -> None:
    names = ("user", "item") if named else ("who", "what")
    rows = [f'"{ids[user]}";"{ids[item]}";{3 + item}' for user in (0, 1) for item in (0, 1)]
    file = written(tmp_path / "a.csv", [f"{names[0]};{names[1]};rating", *rows])
    found, _ = read_interactions(file, **({} if named else {"user": "who", "item": "what"}))
    assert (set(found.users), set(found.items), len(found)) == (set(ids), set(ids), 4)
    items = written(tmp_path / "items.csv", ["code;kind", *(f'"{one}";{place}' for place, one in enumerate(ids))])
    source = Catalogue(file, items, user=names[0], item=names[1])
    assert source.ids == tuple(ids)
    people = written(tmp_path / "people.csv", [names[0], f'"{ids[1]}"', ""])
    other = source.like(people)
    assert isinstance(other, Users)
    assert other.names == (ids[1],)


@pytest.mark.parametrize("ids", [["1.10", "1.1"], ["1E5", "100000"], ["2024-01-05", "2024-01-06"], ["1,234", "1.234"]])
@pytest.mark.parametrize("form", ["pandas", "arrow", "mapping", "parquet"])
def test_names_in_data_frames_stay_as_they_stand_too(tmp_path: Path, ids: list[str], form: str) -> None:
    columns = {"user": [ids[0], ids[0], ids[1], ids[1]], "item": ids * 2, "rating": [3, 4, 3, 4]}
    frame = pd.DataFrame(columns)
    frame.to_parquet(tmp_path / "a.parquet")
    data = {
        "pandas": frame,
        "arrow": pytest.importorskip("pyarrow").table(columns),
        "mapping": columns,
        "parquet": tmp_path / "a.parquet",
    }[form]
    found, _ = read_interactions(data)
    assert (set(found.users), set(found.items), len(found)) == (set(ids), set(ids), 4)


def test_whole_numbers_with_a_point_are_the_same_items_and_come_in_order(tmp_path: Path) -> None:
    file = written(tmp_path / "a.csv", ["user,item", "2.0,10.0", "10.0,9.0", "9.0,10.0", ",9.0"])
    source = Catalogue(file, pd.DataFrame({"item": [9, 10, 11], "kind": ["a", "b", "a"]}))
    assert source.users == ("2", "9", "10")
    assert source.ids == ("9", "10", "11")
    assert "1 rows without a user left out" in source.origin


def test_interactions_without_a_rating_are_none_where_ratings_count(tmp_path: Path) -> None:
    lines = ["user,item,rating,count", "1,10,5,1", "1,11,,9", "2,10,1,9", "2,12,4,1"]
    found, _ = read_interactions(written(tmp_path / "a.csv", lines), least=3)
    assert len(found) == 2
    assert "1 interactions below 3 left out, by column 'rating'" in found.notes
    assert "1 without a rating left out" in found.notes


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("declared", [True, False])
def test_ratings_are_known_in_every_dialect(tmp_path: Path, encoding: str, declared: bool) -> None:
    lines = ['"userId";"movieId";"rating"', "1;10;4,5", "2;11;3,5"]
    file = written(tmp_path / "a.csv", ["sep=;"] * declared + lines, end="\r\n", encoding=encoding)
    assert is_ratings(file)
    found, _ = read_interactions(file, least=4)
    assert (found.users, found.items) == (("1",), ("10",))


def test_values_that_an_item_has_no_room_for_are_told(ratings: Path) -> None:
    tags = "|".join(f"tag{place}" for place in range(20))
    movies = {
        **MOVIES,
        "genres": [tags, tags, "tag1|tag2", "tag3", "rare"],
        "length": [1.0, 2.0, 3.0, 4.0, float("inf")],
    }
    source = Catalogue(ratings, pd.DataFrame(movies))
    assert source.slots["genres"] == 16
    assert "2 items have more than 16 values of 'genres': the first are read" in source.origin
    assert ("column 'length'", "holds infinity") in source.skipped
    assert "more than 16" not in made(ratings).origin
