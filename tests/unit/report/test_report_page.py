"""The page: every section, present or absent; escaping; determinism; no requests; numbers as stored."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from sample_run import CLASSES, findings, metrics, share, write_run

from withstand.core.errors import DataError, RunError
from withstand.core.findings.finding import Check, Finding, Measure, Table
from withstand.report import render


class Reader(HTMLParser):
    """Collects tags with their attributes, the exact numbers, figures and visible text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.values: list[float] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.text = ""
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._inside = tag
        if tag == "data":
            self.values.append(float(dict(attributes)["value"]))
        if tag == "script":
            self.scripts.append((dict(attributes), ""))

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside == "script":
            self.scripts[-1] = (self.scripts[-1][0], data)
        elif self._inside != "style":
            self.text += data

    @property
    def figures(self) -> list[dict]:
        return [json.loads(body) for kind, body in self.scripts if kind.get("type") == "application/json"]


def read(folder) -> Reader:
    return Reader(render(folder).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    folder = write_run(tmp_path_factory.mktemp("report") / "run")
    return folder, read(folder)


def test_the_sections_stand_in_order(full):
    folder, page = full
    headings = ["What was learnt", "What it is worth", "What it withstands", "Why the numbers", "What was run"]
    places = [page.text.rindex(heading) for heading in headings]
    assert places == sorted(places)
    assert "adds it" not in page.text
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


def test_the_same_folder_gives_the_same_bytes(full):
    folder, _ = full
    before = (folder / "report.html").read_bytes()
    assert render(folder).read_bytes() == before


def test_it_is_one_file_of_moderate_size_that_asks_the_network_for_nothing(full):
    folder, page = full
    html = (folder / "report.html").read_text(encoding="utf-8")
    assert len(html) < 3_000_000
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        for name in ("src", "href", "srcset", "action", "data"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/png;base64,")), (tag, attributes)
    styles = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert styles
    assert "url(" not in styles[1]
    assert "@import" not in styles[1]
    (policy,) = [a["content"] for tag, a in page.tags if tag == "meta" and "http-equiv" in a]
    assert policy.startswith("default-src 'none'; img-src data: blob:;")
    assert "http" not in policy
    assert "eval" not in policy


def test_only_the_page_s_own_scripts_exist_whatever_names_hold(full):
    _, page = full
    assert CLASSES[3] == "<script>alert(1)</script>"
    kinds = [kind.get("type") for kind, _ in page.scripts]
    assert kinds[-2:] == ["text/plain", None]
    assert set(kinds[:-2]) == {"application/json"}
    assert "alert(1)" in page.text  # shown as text
    assert "broken <b>.png" in page.text
    texts = json.dumps(page.figures)
    assert "&lt;script&gt;alert(1)" in texts  # plotly reads HTML in its labels
    assert "<script>" not in texts


def test_the_numbers_shown_are_the_numbers_stored(full):
    folder, page = full
    for finding in findings():
        for name, measure in finding.figures.items():
            assert measure.value in page.values, (finding.name, name)
            assert measure.control is None or measure.control.value in page.values, (finding.name, name)
    assert "80.0\u00a0% [78.1,\u00a081.7]" in page.text
    assert "+8.9" in page.text
    assert "8/255 = 0.0314" in page.text
    run = json.loads((folder / "run.json").read_text())
    for fact in (run["git"], run["data"]["fingerprint"], run["data"]["origin"], run["engine"]["reason"], "2.14.0"):
        assert fact in page.text


def test_charts_hold_the_stored_values(full):
    _, page = full
    by_trace = {trace["name"]: trace for figure in page.figures for trace in figure["data"]}
    assert by_trace["this encoder"]["x"] == [0.80, 0.842, 0.71, 0.69]
    assert by_trace["untrained encoder"]["x"] == [0.711, 0.79, 0.60, 0.62]
    np.testing.assert_allclose(by_trace["this encoder"]["error_x"]["arrayminus"], 0.019)
    np.testing.assert_allclose(by_trace["Loss"]["y"], [row["loss"] for row in metrics()])
    assert by_trace["kNN, untrained control"]["line"] == {"dash": "dot"}
    assert by_trace["kNN, untrained control"]["meta"] == by_trace["kNN"]["meta"] != by_trace["Linear"]["meta"]
    audit = next(figure for figure in page.figures if "1/255" in json.dumps(figure["layout"]))
    assert audit["data"][0]["x"] == [0, 1, 2, 4, 8, 16]
    np.testing.assert_allclose(audit["data"][0]["error_y"]["array"], 0.03)
    np.testing.assert_allclose(audit["data"][0]["error_y"]["arrayminus"], 0.1 * np.array(audit["data"][0]["y"]))


def test_conditions_of_one_quantity_share_a_chart_and_its_table_is_shown_once(tmp_path):
    folder = write_run(tmp_path / "run", only=set())
    columns = ("eps", "k/255", "shift under attack", "shift under noise", "share of lost under attack")
    rows = ((0.0, "0/255", 0.0, 0.0, 0.0), (8 / 255, "8/255", 0.5, 0.1, 0.9))
    table = Table(
        columns,
        rows,
        x="eps",
        units={"eps": "k/255", columns[-1]: "share"},
        controls={"shift under noise": "shift under attack"},
    )
    Finding("audit", tables={"shift against eps, linf": table}).save(folder / "findings")
    page = read(folder)
    groups = [[trace["name"] for trace in figure["data"]] for figure in page.figures[-2:]]
    assert groups == [["Shift under attack", "Shift under noise"], ["Share of lost under attack"]]
    assert len(re.findall("The numbers(?! are)", page.text)) == 1
    assert "k/255" not in page.text


def test_pictures_have_alternatives_and_are_enlarged(full):
    _, page = full
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 6 * 9 + 3 * 8
    assert all(image["alt"] and image["width"] == "84" for image in images)
    assert sum(image.get("class") == "odd" for image in images) == 6 * 2  # neighbors of another class
    assert {"Query 1: T-shirt", "Neighbor 8 of query 6: pullover", "Clean, picture 1"} <= {
        image["alt"] for image in images
    }


def test_plots_say_in_words_what_they_show(full):
    _, page = full
    plots = [attributes for _, attributes in page.tags if attributes.get("class") == "plot"]
    assert len(plots) == len(page.figures)
    assert all(plot["role"] == "img" and plot["aria-label"] in page.text for plot in plots)


def test_without_findings_it_says_which_command_adds_them(tmp_path):
    page = read(write_run(tmp_path / "mine", only=set()))
    assert page.text.count("withstand probe mine") == 3
    assert page.text.count("withstand audit mine") == 2
    assert "What it is worth has not been measured yet." in page.text


def test_without_labels_it_says_what_probes_need(tmp_path):
    folder = write_run(tmp_path / "run", only=set(), data={"count": 12, "labelled": False, "shape": [3, 8, 8]})
    assert "probes need labels, a few are enough" in read(folder).text


def test_a_minimal_record_is_enough(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    page = read(tmp_path)
    assert tmp_path.name in page.text
    assert "No step has been logged yet." in page.text


def test_an_unknown_finding_is_shown_whole(tmp_path):
    folder = write_run(tmp_path / "run", only=set())
    Finding(
        "slot-purity",
        figures={
            "purity": Measure(0.5, "ratio", "higher", spread=0.25),
            "entries": Measure(12345.0, "count", None),
            "broken": Measure(float("nan"), "ratio", "lower"),
        },
        tables={
            "purity over slots": Table(("slots", "purity", "purity ±"), ((2, 0.25, 0.125), (4, 0.5, None)), x="slots"),
            "remarks": Table(("what", "seen", "ok"), (("a", None, True), ("b", 2, False))),
        },
        checks=(Check("not by chance", False, "p = 0.4"),),
        protocol={"seeds": [1, 2, 3], "model": {"class_path": "mine.Model", "init_args": {}}},
        pictures={"masks": np.zeros((2, 3, 9, 9, 3), np.uint8)},
    ).save(folder / "findings")
    page = read(folder)
    assert {0.5, 12345.0, 0.25, 2.0} <= set(page.values)
    for words in ("Slot purity", "0.5 ± 0.25", "12,345", "not a number", "Remarks", "1, 2, 3", "✕ failed", "p = 0.4"):
        assert words in page.text, words
    trace = next(trace for figure in page.figures for trace in figure["data"] if trace["name"] == "Purity")
    assert (trace["x"], trace["y"], trace["error_y"]["array"]) == ([2, 4], [0.25, 0.5], [0.125, None])
    assert sum(tag == "img" for tag, _ in page.tags) == 6


def test_failed_checks_come_first(tmp_path):
    folder = write_run(tmp_path / "run", only={"knn"})
    doubts = (Check("doubt", None, "not run"), Check("trouble", False, "seen"))
    Finding("zzz", checks=doubts).save(folder / "findings")
    text = read(folder).text
    assert text.index("trouble") < text.rindex("doubt") < text.rindex("the fit converged")


def test_a_long_log_is_thinned_to_means_and_says_so(tmp_path):
    folder = write_run(tmp_path / "run", only=set())
    rows = [{"step": step, "loss": float(step)} for step in range(1, 1001)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = read(folder)
    (trace,) = page.figures[0]["data"]
    assert trace["y"][:2] == [2.0, 5.0]
    assert len(trace["y"]) <= 400
    assert "mean of 3 logged steps" in page.text


def test_a_cut_last_line_and_a_repeated_step_are_forgiven(tmp_path):
    folder = write_run(tmp_path / "run", only=set())
    (folder / "metrics.jsonl").write_text('{"step": 1, "loss": 9.0}\n{"step": 1, "loss": NaN}\n{"step": 2, "lo')
    (trace,) = read(folder).figures[0]["data"]
    assert (trace["x"], trace["y"]) == ([1], [None])


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("run.json", "{"),
        ("run.json", "[]"),
        ("metrics.jsonl", '{"step": 1}\nnonsense\n{"step": 2}\n'),
        ("metrics.jsonl", '{"loss": 1}\n'),
        ("findings/knn.json", '{"name": "knn"'),
        ("findings/map.json", json.dumps({"name": "map", "tables": {}, "checks": []})),
    ],
)
def test_damage_names_the_file_and_leaves_the_old_report(tmp_path, file, content):
    folder = write_run(tmp_path / "run", only={"knn"})
    render(folder)
    before = (folder / "report.html").read_bytes()
    (folder / file).write_text(content)
    with pytest.raises(DataError, match=re.escape(str(folder / file))):
        render(folder)
    assert (folder / "report.html").read_bytes() == before


def test_pictures_of_another_shape_are_refused_by_name(tmp_path):
    folder = write_run(tmp_path / "run", only=set())
    Finding("odd", pictures={"flat": np.zeros((3, 4), np.uint8)}).save(folder / "findings")
    with pytest.raises(DataError, match="finding 'odd': pictures 'flat' are uint8"):
        render(folder)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"no run\.json"):
        render(tmp_path)


def test_many_classes_and_no_labels_still_give_a_map(tmp_path):
    folder = write_run(tmp_path / "run", only=set())
    (finding,) = [replace(finding, pictures={}) for finding in findings() if finding.name == "map"]
    table = finding.tables["map"]
    for labels in ([None] * 400, list(range(400))):
        rows = tuple((x, y, label, index) for (x, y, _, index), label in zip(table.rows, labels, strict=True))
        replace(finding, tables={"map": Table(table.columns, rows)}).save(folder / "findings")
        figure = read(folder).figures[-1]
        assert sum(len(trace["x"]) for trace in figure["data"]) == 400
        assert len(figure["layout"]["annotations"]) == 0
    assert 'class="keys"' not in (folder / "report.html").read_text()


def test_layers_are_named_on_their_axis_and_notes_say_how_to_read(tmp_path):
    table = Table(
        ("layer", "layer name", "linear accuracy"),
        ((1, "blocks.0", 0.3), (2, "<head>", 0.2)),
        x="layer",
        note="Read it so.",
        units={"linear accuracy": "share"},
    )
    folder = write_run(tmp_path / "run")
    figures = {"linear accuracy before the head": share(0.3)}
    Finding("layers", figures, tables={"by layer": table}).save(folder / "findings")
    assert Finding.load(folder / "findings" / "layers.json").tables["by layer"] == table
    page = read(folder)
    axis = next(f["layout"]["xaxis"] for f in page.figures if "blocks.0" in json.dumps(f["layout"]))
    assert axis["tickvals"] == [1, 2]
    assert axis["ticktext"] == ["blocks.0", "&lt;head&gt;"]
    assert "Read it so." in page.text
    assert page.text.index("Layer by layer") < page.text.index("What it is worth", page.text.index("Layer by layer"))


def test_a_chart_shows_four_lines_and_folds_the_others(tmp_path):
    names = ("gaussian noise", "blur", "blur, untrained control", "fog", "snow", "rain")
    rows = ((1, *(0.9 - 0.1 * k for k in range(6))), (2, *(0.8 - 0.1 * k for k in range(6))))
    controls = {"blur, untrained control": "blur"}
    table = Table(("severity", *names), rows, x="severity", units=dict.fromkeys(names, "share"), controls=controls)
    folder = write_run(tmp_path / "run", only=set())
    Finding("corruptions", tables={"curve": table}, protocol={"data": {"name": "other <set>"}}).save(
        folder / "findings"
    )
    page = read(folder)
    drawn = {trace["name"]: trace.get("visible", True) for trace in page.figures[-1]["data"]}
    first = ["Gaussian noise", "Blur", "Blur, untrained control", "Fog"]
    assert drawn == {**dict.fromkeys(first, True), "Snow": False, "Rain": False}
    assert "2 more lines, drawn when chosen" in page.text
    keys = [attributes for tag, attributes in page.tags if tag == "button"]
    assert [key["aria-pressed"] for key in keys] == ["true"] * 4 + ["false"] * 2
    assert [key["data-trace"] for key in keys] == list("012345")
    assert "By severity other <set>" in page.text, "a chart names the data that it is about"


def test_axes_say_which_norm_and_unit_and_name_no_two_places_alike(tmp_path):
    folder = write_run(tmp_path / "run")
    layers = Table(("layer", "layer name", "accuracy"), ((1, "conv", 0.3), (2, "conv", 0.2)), x="layer")
    rows = ((0.0, 0.9), (0.5, 0.4))
    table = Table(("eps", "accuracy"), rows, x="eps", units={"eps": "radius", "accuracy": "share"})
    Finding("layers", tables={"by layer": layers}).save(folder / "findings")
    Finding("audit-2", tables={"accuracy against eps, l2": table}).save(folder / "findings")
    axes = [figure["layout"].get("xaxis", {}) for figure in read(folder).figures]
    titles = {axis["title"]["text"] for axis in axes if "title" in axis}
    assert {"Linf radius (eps), in steps of 1/255", "L2 radius (eps), in input units"} <= titles
    assert ["conv", "conv (2)"] in [axis.get("ticktext") for axis in axes]


def test_norms_are_spelled_one_way(full):
    folder, page = full
    assert "Linf\u00a04/255" in page.text  # a cell of a table
    shown = page.text[: page.text.index("How this was measured")] + page.text[page.text.index("Which attack") :]
    assert not re.findall(r"\bl(?:inf|2) [0-9]", shown.split("How this was measured")[0])
    found = Finding.load(folder / "findings" / "audit.json")
    assert "robust accuracy, Linf 8/255" in str(found)
    assert "robust accuracy, linf 8/255" in found.numbers, "the key stays as it was stored"


@pytest.mark.parametrize(
    ("passed", "heading", "link"),
    [
        ((True, True), "Why the numbers are believable", "Why believe it"),
        ((True, None), "How far the numbers can be believed", "How far to believe it"),
        ((False, None), "Why the numbers are not to be believed", "Why not to believe it"),
        ((), "How far the numbers can be believed", "How far to believe it"),
    ],
)
def test_the_heading_over_the_checks_says_what_they_say(tmp_path, passed, heading, link):
    folder = write_run(tmp_path / "run", only=set())
    Finding("audit", checks=tuple(Check(f"check {k}", one, "seen") for k, one in enumerate(passed))).save(
        folder / "findings"
    )
    page = read(folder)
    assert heading in page.text
    assert link in page.text


def test_a_map_fills_its_frame_and_labels_do_not_lie_on_each_other(tmp_path):
    folder = write_run(tmp_path / "run", only=set())
    ends = ((0.0, 0.0, "a", 0), (10.0, 4.0, "a", 1), (5.1, 2.0, "b", 2), (5.0, 2.0, "b", 3), (0.0, 4.0, "c", 4))
    rows = tuple((*end, f"IMG_{end[3]}.jpg") for end in ends)
    Finding("map", tables={"map": Table(("x", "y", "label", "index", "name"), rows)}).save(folder / "findings")
    page = read(folder)
    layout = page.figures[-1]["layout"]
    assert layout["xaxis"]["range"] == pytest.approx([-0.3, 10.3])
    assert layout["yaxis"]["range"] == pytest.approx([-0.12, 4.12])
    assert [note["text"] for note in layout["annotations"]] == ["a", "c"]  # b's middle is a's
    assert "IMG_2.jpg" in page.figures[-1]["data"][1]["customdata"]
    (style,) = [
        a["style"] for t, a in page.tags if a.get("class") == "plot" and "aspect-ratio" in (a.get("style") or "")
    ]
    assert style == "aspect-ratio: 2.0"  # 0.4 high to 1 wide is flatter than the flattest frame


def test_neighbors_are_told_by_their_files(tmp_path):
    folder = write_run(tmp_path / "run", only=set())
    near = tuple((0, "cat", k, k, label, 0.9, "train", "q.jpg", f"n{k}.jpg") for k, label in ((1, "cat"), (2, "dog")))
    columns = ("query", "query label", "rank", "neighbor", "neighbor label", "cosine", "neighbor is of")
    table = Table((*columns, "query name", "neighbor name"), near)
    map_ = Table(("x", "y", "label", "index"), ((0.0, 0.0, "cat", 0), (1.0, 1.0, "dog", 1)))
    grid = np.zeros((1, 3, 8, 8, 3), np.uint8)
    Finding("map", tables={"map": map_, "neighbors": table}, pictures={"neighbors": grid}).save(folder / "findings")
    page = read(folder)
    alts = [attributes["alt"] for tag, attributes in page.tags if tag == "img"]
    assert alts == ["Query 1, q.jpg: cat", "Neighbor 1 of query 1, n1.jpg: cat", "Neighbor 2 of query 1, n2.jpg: dog"]
    assert [a.get("class") for t, a in page.tags if t == "img"] == [None, None, "odd"]
    for caption in ("q.jpg · cat", "n1.jpg", "n2.jpg · dog"):
        assert caption in page.text


def test_each_strip_has_its_own_notes(tmp_path):
    strip = np.zeros((2, 4, 4, 1), np.uint8)
    tables = {
        f"pictures, {end} temperature": Table(
            ("temperature", "class"), tuple((value, f"class {end}") for _ in range(2))
        )
        for end, value in (("lowest", 0.0625), ("highest", 0.75))
    }
    folder = write_run(tmp_path / "run")
    pictures = {f"{end} temperature": strip for end in ("lowest", "highest")}
    Finding("samples", tables=tables, pictures=pictures).save(folder / "findings")
    text = read(folder).text
    assert "What the method keeps of each picture" in text
    order = ["Lowest temperature", "0.0625", "class lowest", "Highest temperature", "0.75", "class highest"]
    places = [text.index(words, text.index("What the method keeps")) for words in order]
    assert places == sorted(places)
    assert text.count("class lowest") == 2, "below the pictures, and not in a table again"


def test_neighbors_that_are_not_drawn_are_told_in_words(tmp_path):
    folder = write_run(tmp_path / "run", only=set(), data={"count": 12, "labelled": True, "kind": "row"})
    near = tuple((q, "yes", k, 10 + k, "no" if k == 2 else "yes", 0.9) for q in (3, 7) for k in (1, 2))
    table = Table(("query", "query label", "rank", "neighbor", "neighbor label", "cosine"), near)
    map_ = Table(("x", "y", "label", "index"), ((0.0, 0.0, "yes", 0), (1.0, 1.0, "no", 1)))
    Finding("map", tables={"map": map_, "neighbors": table}).save(folder / "findings")
    text = read(folder).text
    assert "Most alike, the nearest first" in text
    assert "7 (yes)" in text
    assert text.count("11 (yes), 12 (no)") == 2
