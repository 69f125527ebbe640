"""`dlcore evaluate` in full: intervals, groups, thresholds, worst rows, the gap to training, the report."""

import json
import re
import shutil

import numpy as np
import pytest
import sklearn.metrics

import dlcore


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Two trained tables, of labels and of numbers, with what they are measured on."""
    from conftest import Command

    folder = tmp_path_factory.mktemp("evaluate")
    rng = np.random.default_rng(0)
    for part, count in (("train", 300), ("test", 200)):
        rows = ["a,b,place,label,target"]
        for a, b in rng.normal(size=(count, 2)):
            label = "yes" if a + b + rng.normal() > 0.7 else "no"
            rows.append(f"{a:.4f},{b:.4f},{'north' if a > 0 else 'south'},{label},{3 * a - b:.4f}")
        cells = [row.split(",") for row in rows]
        (folder / f"{part}.csv").write_text("\n".join(",".join(c[:4]) for c in cells) + "\n")
        (folder / f"{part}_numbers.csv").write_text("\n".join(",".join(c[:3] + c[4:]) for c in cells) + "\n")
    for name, data in (("labels", "train.csv"), ("numbers", "train_numbers.csv")):
        Command(folder)("train", "tabular", "--data", data, "--epochs", 6, "--out", name, "-q")
    shutil.copy(folder / "labels" / "report.html", folder / "first.html")
    return folder


@pytest.fixture
def evaluate(tables):
    from conftest import Command

    return lambda *words, **options: Command(tables)("evaluate", *words, **options)


def test_everything_is_measured_and_equals_sklearn(evaluate, tables):
    found = json.loads(evaluate("labels", "test.csv", "--json").stdout)
    model = dlcore.load(tables / "labels")
    lines = [line.split(",") for line in (tables / "test.csv").read_text().splitlines()[1:]]
    rows = [dict(zip(("a", "b", "place"), line, strict=False)) for line in lines]
    true, proba = np.array([line[3] for line in lines]), model.predict_proba(rows)[:, 1].astype(float)
    pred = np.where(proba > 0.5, "yes", "no")
    metrics = found["metrics"]
    assert metrics["accuracy"] == sklearn.metrics.accuracy_score(true, pred)
    assert metrics["roc_auc"] == pytest.approx(sklearn.metrics.roc_auc_score(true, proba), abs=1e-12)
    assert metrics["average_precision"] == pytest.approx(
        sklearn.metrics.average_precision_score(true, proba, pos_label="yes"), abs=1e-12
    )
    assert metrics["macro_f1"] == pytest.approx(sklearn.metrics.f1_score(true, pred, average="macro"), abs=1e-12)
    assert metrics["brier_score"] == pytest.approx(sklearn.metrics.brier_score_loss(true == "yes", proba), abs=1e-6)
    assert found["confusion"] == sklearn.metrics.confusion_matrix(true, pred).tolist()
    for name in ("accuracy", "macro_f1", "log_loss", "roc_auc"):
        low, high = found["intervals"][name]
        assert low < metrics[name] < high
    text = evaluate("labels", "test.csv").stdout
    assert sklearn.metrics.classification_report(true, pred, digits=4).rstrip() in text
    assert "confusion: rows are answers" in text and "calibration" in text and re.search(r"roc_auc +0\.\d+ +95 %", text)


def test_groups(evaluate):
    found = json.loads(evaluate("labels", "test.csv", "--by", "place", "--json").stdout)
    assert [row["group"] for row in found["groups"]] == ["north", "south"]
    total = sum(row["rows"] * row["metrics"]["accuracy"] for row in found["groups"]) / found["rows"]
    assert total == pytest.approx(found["metrics"]["accuracy"])
    quarters = json.loads(evaluate("numbers", "test_numbers.csv", "--by", "a", "--json").stdout)["groups"]
    assert [row["rows"] for row in quarters] == [50] * 4 and all(" to " in row["group"] for row in quarters)
    assert "greatest difference of accuracy" in evaluate("labels", "test.csv", "--by", "label").stdout
    assert "expected  a, b, place" in evaluate("labels", "test.csv", "--by", "sex", code=2).stderr


def test_a_threshold(evaluate):
    plain = json.loads(evaluate("labels", "test.csv", "--json").stdout)
    best = json.loads(evaluate("labels", "test.csv", "--threshold", "auto", "--json").stdout)
    assert best["threshold_by"] == "f1"
    assert best["report"]["yes"]["f1-score"] >= plain["report"]["yes"]["f1-score"]
    assert best["metrics"]["roc_auc"] == plain["metrics"]["roc_auc"]
    youden = json.loads(evaluate("labels", "test.csv", "--threshold", "youden", "--json").stdout)
    assert youden["metrics"]["balanced_accuracy"] >= plain["metrics"]["balanced_accuracy"]
    given = json.loads(evaluate("labels", "test.csv", "--threshold", best["threshold"], "--json").stdout)
    assert given["metrics"] == best["metrics"] and given["threshold_by"] == "given"
    assert "flatters it" in evaluate("labels", "test.csv", "--threshold", "auto").stdout
    assert "two labels" in evaluate("numbers", "test_numbers.csv", "--threshold", "auto", code=2).stderr
    evaluate("labels", "test.csv", "--threshold", "1.5", code=2)


def test_the_worst_rows(evaluate, tables):
    found = json.loads(evaluate("labels", "test.csv", "--worst", 4, "--json").stdout)["worst"]
    assert [row["probability"] for row in found] == sorted(row["probability"] for row in found)
    lines = (tables / "test.csv").read_text().splitlines()
    for row in found:
        assert row["answer"] != row["predicted"] and lines[row["line"] - 1].endswith(row["answer"])
        assert row["cells"]["place"] in lines[row["line"] - 1]
    assert "worst rows" in evaluate("numbers", "test_numbers.csv", "--worst", 2).stdout


def test_the_gap_to_training(evaluate, tables):
    found = json.loads(evaluate("labels", "test.csv", "--json").stdout)
    rows = [json.loads(line) for line in (tables / "labels" / "metrics.jsonl").read_text().splitlines()]
    best = min(rows, key=lambda row: row["val_loss"])
    gap = found["generalisation"]["accuracy"]
    assert gap["training"] == best["accuracy"] and gap["here"] == found["metrics"]["accuracy"]
    assert gap["gap"] == pytest.approx(gap["here"] - gap["training"])
    assert "generalisation" not in json.loads(evaluate("labels/model.dlc", "test.csv", "--json").stdout)


def test_the_report_is_written_again(evaluate, tables):
    page = tables / "labels" / "report.html"
    before = (tables / "first.html").read_text()
    assert "the rows kept for validation" in before
    page.write_text(before)
    evaluate("labels", "test.csv", "--no-report")
    assert page.read_text() == before
    assert "labels/report.html" in evaluate("labels", "test.csv").stderr
    after = page.read_text()
    assert "Evaluation on test.csv: 200 rows" in after and "Worst examples" in after
    assert len(after) > 5000 and not re.search(r'(src|href)="https?:', after)


def test_a_required_quality_of_any_metric(evaluate):
    evaluate("labels", "test.csv", "--require", "roc_auc>=0.5", "--require", "calibration_error<=0.9")
    assert "roc_auc" in evaluate("labels", "test.csv", "--require", "roc_auc>=0.9999", code=6).stderr
