"""The sentence at the top says what the numbers say, and no more."""

from dataclasses import replace
from pathlib import Path

import pytest
from sample_run import findings, record, share, write_run

from withstand.core.findings.finding import Check, Finding, Measure
from withstand.report import render
from withstand.report.folder import StoredRun
from withstand.report.verdict import tiles, verdict

FINDINGS = {finding.name: finding for finding in findings()}


def run(*found: Finding, **changes: object) -> StoredRun:
    return StoredRun(Path("run"), record() | changes, (), {finding.name: finding for finding in found})


def said(*found: Finding, **changes: object) -> str:
    return verdict(run(*found, **changes)).replace("\u00a0", " ")


def with_checks(*checks: Check) -> Finding:
    return replace(FINDINGS["audit"], checks=checks)


def test_the_whole_sentence():
    assert said(*FINDINGS.values()) == (
        "A DCL encoder (ResNet, width 16) learnt from 10,000 unlabelled pictures in 51 s: "
        "kNN 80.0 % against 71.1 % untrained. Under Linf 8/255 attacks its accuracy falls from 79.4 % to at most "
        "12.0 % [9.4, 15.2] of 500 pictures (PGD-20 and AutoAttack (standard), with gradients and outputs); "
        "the checks find nothing that speaks against this number."
    )


def test_nothing_measured_yet():
    assert said().endswith(
        "pictures in 51 s. What it is worth has not been measured yet. What it withstands has not been measured yet."
    )


def test_a_run_that_no_audit_measures_is_not_told_to_ask_for_one(tmp_path):
    assert said(auditable=False).endswith("No audit measures such a run.")
    for able, told in ((True, "withstand audit &#39;my run&#39;"), (False, "No audit measures such a run.")):
        page = render(write_run(tmp_path / "my run", only=set(), auditable=able)).read_text(encoding="utf-8")
        assert told in page
        assert ("withstand audit" in page) is able


def test_a_control_is_called_what_it_is():
    knn = FINDINGS["knn"]
    better = replace(share(0.9, 0.88, 0.92), control=replace(share(0.5), called="before training"))
    assert "kNN 90.0 % against 50.0 % before training." in said(replace(knn, figures={"accuracy": better}))


@pytest.mark.parametrize(
    ("status", "words"), [("running", "is still learning from 10,000"), ("stopped", "in 51 s before it was stopped")]
)
def test_unfinished_runs_say_so(status, words):
    assert words in said(status=status)


def test_other_data_are_samples_and_the_first_probe_that_was_run_speaks():
    words = said(FINDINGS["linear"], data={"count": 1, "shape": [12]})
    assert "1 unlabelled sample in 51 s: Linear 84.2 % against 79.0 % untrained." in words


def test_no_gain_is_called_no_gain():
    knn = FINDINGS["knn"]
    worse = replace(knn, figures={"accuracy": replace(share(0.5), control=share(0.5))})
    assert "kNN 50.0 %, no more than the 50.0 % of the untrained encoder." in said(worse)
    hardly = replace(share(0.52, 0.50, 0.54), control=share(0.51))
    assert "kNN 52.0 %, not clearly more than the 51.0 %" in said(replace(knn, figures={"accuracy": hardly}))
    repeated = replace(hardly, interval=None, spread=0.02)
    assert "kNN 52.0 %, not clearly more than the 51.0 %" in said(replace(knn, figures={"accuracy": repeated}))
    assert "with no untrained encoder to compare with" in said(replace(knn, figures={"accuracy": share(0.9)}))


def test_a_failed_check_withdraws_the_number():
    words = said(with_checks(Check("gradients are there", False, ""), Check("other", None, "")))
    assert words.endswith(", but 1 check failed (gradients are there): do not rely on this number yet.")


def test_checks_that_could_not_be_judged_are_counted_and_none_at_all_is_said():
    words = said(with_checks(Check("a", True, ""), Check("b", None, "")))
    assert words.endswith("no check speaks against this number, but 1 of 2 could not be judged.")
    assert said(with_checks()).endswith("no check says whether this number can be believed.")


def test_checks_of_other_findings_are_not_passed_over():
    collapsed = replace(FINDINGS["gauges"], checks=(Check("the features have not collapsed", False, ""),))
    assert said(collapsed, FINDINGS["audit"]).endswith("Beware: 1 check failed (the features have not collapsed).")


def test_an_audit_without_gradients_gives_no_robust_number():
    noise_only = replace(
        FINDINGS["audit"],
        figures={"clean accuracy": share(0.8), "accuracy under noise, linf 8/255": share(0.7)},
        headline=None,
        checks=(Check("gradients are there", False, ""),),
    )
    words = said(noise_only)
    assert "The audit gave no number for what it withstands, but 1 check failed" in words
    assert "70.0 %" not in words


def test_an_audit_without_labels_speaks_of_codes():
    attacked, noisy = (f"share nearer to another sample under {what}, linf 8/255" for what in ("attack", "noise"))
    headline = {"number": attacked, "against": noisy, "ball": "linf 8/255"}
    moved = replace(
        FINDINGS["audit"],
        figures={attacked: Measure(0.9, "share", "lower"), noisy: Measure(0.01, "share", "lower")},
        headline=attacked,
        protocol={"headline": headline},
    )
    words = (
        "Attacks within Linf 8/255 give at least 90.0 % of the pictures a code that is nearer to another's, noise 1.0 %"
    )
    assert f"{words}; the checks find nothing" in said(moved)
    headline |= {
        "samples": 200,
        "attack": "PGD-3",
        "access": "with gradients and outputs",
        "standing": "a lower bound by PGD-3",
    }
    quick = said(replace(moved, protocol={"headline": headline}))
    assert "at least 90.0 % of 200 pictures a code" in quick
    assert quick.endswith(
        "noise 1.0 % (PGD-3, with gradients and outputs): a lower bound by PGD-3, and no more, for no stronger attack "
        "was run."
    )


def test_tiles_hold_exact_values():
    shown = {tile.name: tile for tile in tiles(run(*FINDINGS.values()))}
    assert shown["kNN accuracy"].value == 0.80
    assert shown["Under attack"].value == 0.12
    assert shown["Checks passed"].figure == "8 of 8"
    assert shown["Unlabelled pictures"].figure == "10,000"


def headlined(**changes: object) -> Finding:
    audit = FINDINGS["audit"]
    return replace(audit, protocol={**audit.protocol, "headline": {**audit.protocol["headline"], **changes}})


def test_a_bound_is_called_a_bound_and_nothing_unjudged_is_relied_on():
    failed = Check("the strongest attacks had the last word", False, "")
    bound = replace(headlined(standing="an upper bound by PGD-3", attack="PGD-3"), checks=(failed,))
    assert said(bound).endswith("(PGD-3, with gradients and outputs): an upper bound by PGD-3, and no more, for no "
                                "stronger attack was run.")  # fmt: skip
    open_ = (Check("a", True, ""), Check("b", None, ""), Check("c", None, ""))
    words = said(replace(headlined(standing="not judged"), checks=open_))
    assert words.endswith("but 2 of 3 checks could not be judged: do not rely on this number yet.")
    shown = {tile.name: tile for tile in tiles(run(bound))}["Under attack"]
    assert shown.figure.replace("\u00a0", " ") == "≤ 12.0 %"
    assert shown.note.replace("\u00a0", " ") == (
        "Linf 8/255; 9.4 to 15.2 %; 500 pictures; without 79.4 %; an upper bound by PGD-3"
    )


def test_older_audits_are_still_told():
    protocol = {
        "ball": {"norm": "linf", "eps": 8 / 255},
        "samples": 40,
        "verdict": "Believable.",
        "AutoAttack": {"class_path": "withstand.attacks.autoattack.autoattack.AutoAttack", "init_args": {}},
    }
    record = {"name": "audit", "tables": {}, "checks": [{"name": "gradients are there", "passed": True, "detail": ""}],
              "numbers": {"clean accuracy": 0.8, "clean accuracy ±": 0.03, "robust accuracy, linf 8/255": 0.98,
                          "robust accuracy, linf 8/255 ±": 0.04, "accuracy under noise, linf 8/255": 0.79},
              "protocol": protocol}  # fmt: skip
    old = Finding.of_record(record)
    assert said(old).endswith(
        "falls from 80.0 % to at most 98.0 % [94.0, 100.0] of 40 pictures; the checks find nothing that speaks against "
        "this number."
    )
    quick = Finding.of_record({**record, "protocol": {**protocol, "AutoAttack": None}})
    assert said(quick).endswith(": an upper bound by gradient steps, and no more, for no stronger attack was run.")
    assert {tile.name for tile in tiles(run(old))} >= {"Under attack"}


def test_a_certificate_is_told_in_shares():
    names = [f"{name} share, linf 2/255" for name in ("proven", "broken", "undecided")]
    told = dict(zip(("number", "broken", "undecided"), names, strict=True)) | {"ball": "linf 2/255"}
    figures = {name: share(value) for name, value in zip(names, (0.5, 0.3, 0.2), strict=True)}
    certificate = Finding("certificate", figures, protocol={"headline": told}, headline=names[0])
    assert "Within Linf 2/255 50.0 % of its answers are proven right, 30.0 % are broken; 20.0 % are undecided." in said(
        certificate
    )
    numbers = {"numbers": certificate.numbers, "protocol": {}, "tables": {}, "checks": [], "name": "certificate"}
    assert said(Finding.of_record(numbers)) == said(certificate)


def test_an_encoder_that_stayed_as_it_came_is_not_said_to_have_learnt() -> None:
    said = verdict(run(**{"encoder is frozen": True, "gives": ["encoder", "attack"]}))
    assert "which leaves its encoder" in said.partition(" learnt from ")[0]
    assert "encoder" not in verdict(run(gives=["generator"])).partition(" learnt from ")[0]
    assert " encoder " in verdict(run()).partition(" learnt from ")[0]


@pytest.mark.parametrize(
    ("word", "said"),
    [("", "60 unlabelled pictures"), ("labels", "60 labelled pictures"), ("masks", "60 pictures with masks")],
)
def test_what_people_said_of_the_samples_is_told(word: str, said: str) -> None:
    assert f"learnt from {said}" in verdict(run(**{"taught by": word, "data": {"count": 60, "shape": [1, 8, 8]}}))


def test_an_audit_of_its_own_is_not_said_to_be_missing() -> None:
    share = {"samples told": Measure(0.5, "share", "lower")}
    words = said(Finding("audit-language", share, checks=(Check("clean answers are there", True, "all"),)))
    assert "What it withstands is told below (Audit language); the checks find nothing that speaks against" in words
    assert "not been measured" not in words.partition("withstands")[2]
    assert "What it withstands has not been measured yet." in said(Finding("ranking", share))


def test_few_labels_were_seen_by_training() -> None:
    assert "learnt from 60 pictures with few labels" in verdict(
        run(**{"taught by": "few labels", "data": {"count": 60, "shape": [1, 8, 8]}})
    )
