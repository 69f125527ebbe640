"""`dlcore train` and what is done with its run, on real files."""

import csv
import ctypes
import gzip
import json
import os
import re
import resource
import signal
import subprocess
import time
import tomllib

import numpy as np
import pytest

NAMES = (
    "age,workclass,fnlwgt,education,education-num,marital-status,occupation,relationship,race,sex,capital-gain,capital-loss,"
    "hours-per-week,native-country,income"
).split(",")


@pytest.fixture(scope="session")
def adult(tmp_path_factory):
    """A table with a header, 300 rows, and another of 150, from the UCI Adult data."""
    from conftest import DATA

    folder = tmp_path_factory.mktemp("adult")
    for source, target in (("adult_300.csv", "train.csv"), ("adult_val_150.csv", "test.csv")):
        rows = [[cell.strip() for cell in row] for row in csv.reader((DATA / "tabular" / source).open()) if row]
        with (folder / target).open("w", newline="") as file:
            csv.writer(file).writerows([NAMES, *rows])
    return folder


def test_whether_there_is_a_header_is_told(tmp_path, capsys):
    """Years name the columns, which look like data; the model file keeps what the options said."""
    from dlcore.cli.main import run

    rows = "".join(f"{i % 7},{i % 3},{'xy'[i % 2]}\n" for i in range(60))
    (tmp_path / "named.csv").write_text("2019,2020,label\n" + rows)
    (tmp_path / "plain.csv").write_text(rows)
    train = ["train", "tabular", "--epochs", "1", "--set", "model.hidden=[4]", "--data"]
    named, plain = str(tmp_path / "named"), str(tmp_path / "plain")
    assert run([*train, f"{named}.csv", "--header", "--out", named]) == 0
    assert "header True" in capsys.readouterr().err
    no_header = ["--set", "data.header=false", "--label-col", "c3"]
    assert run([*train, f"{plain}.csv", *no_header, "--out", plain]) == 0
    assert "header False" in capsys.readouterr().err and "header = false" in (tmp_path / "plain" / "config.toml").read_text()
    (tmp_path / "new.csv").write_text("5,2\n6,1\n")
    for arguments, count in (([plain], 2), ([named, "--no-header"], 2), ([plain, "--header"], 4), ([named], 4)):
        code = 0 if count == 2 else count
        assert run(["predict", arguments[0], str(tmp_path / "new.csv"), *arguments[1:]]) == code
        assert len(capsys.readouterr().out.splitlines()) == (2 if code == 0 else 0)
    assert run(["evaluate", named, f"{named}.csv", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 60
    assert run([*train, f"{plain}.csv", "--set", "data.header=maybe"]) == 3
    assert "must be one of 'auto', true or false" in capsys.readouterr().err
    assert run(["train", "image-classify", "--data", f"{plain}.csv", "--header"]) == 3


@pytest.fixture(scope="session")
def image_run(mnist, tmp_path_factory):
    """A finished run of image-classify: its folder and what --json printed."""
    from conftest import Command

    folder = tmp_path_factory.mktemp("image")
    done = Command(folder)(
        "train",
        "image-classify",
        "--data",
        mnist,
        "--arch",
        "mlp",
        "--epochs",
        3,
        "--seed",
        1,
        "--set",
        "model.hidden=[512, 512]",
        "--out",
        "run",
        "--json",
    )
    return folder / "run", done


@pytest.fixture(scope="session")
def table_run(adult, tmp_path_factory):
    from conftest import Command

    folder = tmp_path_factory.mktemp("table")
    Command(folder)(
        "train", "tabular", "--data", adult / "train.csv", "--label-col", "income", "--epochs", 8, "--out", "run"
    )
    return folder / "run"


def test_a_run_holds_what_it_promises(image_run, mnist):
    folder, done = image_run
    assert sorted(p.name for p in folder.iterdir()) == [
        "ckpt",
        "config.toml",
        "log.txt",
        "metrics.csv",
        "metrics.jsonl",
        "model.dlc",
        "report.html",
        "result.json",
        "run.lock",
    ]
    config = tomllib.loads((folder / "config.toml").read_text())
    assert config["task"] == "image-classify" and config["model"]["arch"] == "mlp"
    assert config["train"]["epochs"] == 3 and config["train"]["seed"] == 1 and config["data"]["train"] == str(mnist)
    lock = tomllib.loads((folder / "run.lock").read_text())
    assert lock["machine"]["precision"] == "float32" and lock["machine"]["level"]
    assert lock["data"][str(mnist)].startswith("sha256:") and lock["run"]["seed"] == 1
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3] and all(
        row["loss"] > 0 and 0 < row["val_accuracy"] <= 1 for row in rows
    )
    assert (folder / "log.txt").read_text().strip() == done.stderr.strip()


def test_json_is_one_object_and_says_what_was_reached(image_run):
    folder, done = image_run
    report = json.loads(done.stdout)
    assert done.stdout.count("\n") == 1
    assert report["task"] == "image-classify" and report["run"] == "run" and report["epochs"] == 3
    assert {"loss", "accuracy", "val_loss", "val_accuracy", "test_accuracy"} <= report["metrics"].keys()
    assert report["metrics"]["test_accuracy"] > 0.8


def test_progress_is_plain_in_a_pipe_and_names_the_defaults(image_run):
    _, done = image_run
    assert not any(ord(c) < 32 and c != "\n" for c in done.stdout + done.stderr)
    assert (
        re.search(r"batch \d+ \(default\)", done.stderr)
        and "epochs 3 ·" in done.stderr
        and "measured once, at the end" in done.stderr
    )
    assert "device cpu (" in done.stderr


def test_evaluate_uses_the_test_part(image_run, mnist, dlcore_command):
    folder, done = image_run
    report = json.loads(dlcore_command("evaluate", folder, mnist, "--json").stdout)
    assert report["rows"] == 1000 and "t10k" in report["data"]
    assert report["metrics"]["accuracy"] == json.loads(done.stdout)["metrics"]["test_accuracy"]
    assert "accuracy" in dlcore_command("evaluate", folder / "model.dlc", mnist).stdout


def test_a_required_quality(image_run, mnist, dlcore_command):
    folder, _ = image_run
    dlcore_command("evaluate", folder, mnist, "--require", "accuracy>=0.5", "--require", "log_loss<=2")
    assert (
        "expected  >= 0.999" in dlcore_command("evaluate", folder, mnist, "--require", "accuracy>=0.999", code=6).stderr
    )
    assert "log_loss" in dlcore_command("evaluate", folder, mnist, "--require", "acuracy>=0.999", code=2).stderr


def test_predict_gives_a_line_per_row(image_run, mnist, dlcore_command):
    folder, _ = image_run
    labels = dlcore_command("predict", folder, mnist).stdout.split()
    assert len(labels) == 1000 and set(labels) <= set("0123456789")
    with gzip.open(mnist / "t10k-images-idx3-ubyte.gz") as file:
        piped = dlcore_command("predict", folder, stdin=file.read()).stdout.split()
    assert piped == labels
    header, *rows = dlcore_command("predict", folder, mnist, "--proba").stdout.splitlines()
    probabilities = np.array([[float(cell) for cell in row.split(",")] for row in rows])
    assert header == "0,1,2,3,4,5,6,7,8,9" and np.allclose(probabilities.sum(1), 1, atol=1e-4)
    assert [str(i) for i in probabilities.argmax(1)] == labels
    best = dlcore_command("predict", folder, mnist, "--top-k", 2).stdout.splitlines()
    assert [line.split()[0] for line in best] == labels and all(line.count("\t") == 1 for line in best)
    report = json.loads(dlcore_command("predict", folder, mnist, "--top-k", 2, "--json").stdout)
    assert [str(p) for p in report["predictions"]] == labels and [str(row[0][0]) for row in report["top"]] == labels


def test_several_inputs_are_read_one_after_another(image_run, mnist, table_run, adult, dlcore_command):
    folder, _ = image_run
    with gzip.open(mnist / "t10k-images-idx3-ubyte.gz") as file:
        (dlcore_command.folder / "some.idx3").write_bytes(file.read())
    labels = dlcore_command("predict", folder, mnist).stdout.split()
    assert dlcore_command("predict", folder, "some.idx3", mnist / "t10k-images-idx3-ubyte.gz").stdout.split() == 2 * labels
    test = adult / "test.csv"
    rows = dlcore_command("predict", table_run, test).stdout
    assert rows.count("\n") > 10 and dlcore_command("predict", table_run, test, test).stdout == 2 * rows


def test_predict_writes_over_nothing(image_run, mnist, dlcore_command):
    folder, _ = image_run
    dlcore_command("predict", folder, mnist, "-o", "labels.txt")
    assert len((dlcore_command.folder / "labels.txt").read_text().split()) == 1000
    assert "nothing was written over" in dlcore_command("predict", folder, mnist, "-o", "labels.txt", code=2).stderr
    dlcore_command("predict", folder, mnist, "-o", "no/such/labels.txt", code=74)


def test_info_profile_and_doctor(image_run, dlcore_command):
    folder, _ = image_run
    facts = json.loads(dlcore_command("info", folder, "--json").stdout)
    assert facts["type"] == "image-classify" and facts["parameters"] == 669706 and facts["classes"] == list(range(10))
    assert "dense_1 (Dense)" in dlcore_command("info", folder).stdout
    for flags in ((), ("--train",)):
        report = json.loads(dlcore_command("profile", folder, "--batch", 8, "--repeats", 2, "--json", *flags).stdout)
        assert report["calls"] and all(row["seconds"] > 0 and row["shapes"] for row in report["calls"])
        assert report["arena_ratio"] <= 1.2
        assert any(row["segment"] == "update" for row in report["calls"]) == bool(flags)
    table = dlcore_command("profile", folder, "--batch", 8, "--repeats", 2).stdout
    assert "GFLOP/s" in table and "dense_forward" in table
    found = json.loads(dlcore_command("doctor", "--json").stdout)
    assert found["products"].split(", ")[0] == "float32" and set(found["products"].split(", ")) <= {"float32", "bf16", "int8"}
    checks = found["checks"]
    assert {check["name"] for check in checks} == {"kernels", "gradients", "threads"} and all(
        check["ok"] for check in checks
    )


def test_c_export_is_the_model(image_run, mnist, dlcore_command):
    import dlcore

    folder, _ = image_run
    done = json.loads(dlcore_command("export", folder, "--to", "c", "-o", "digits.c", "--json").stdout)
    assert done["greatest_difference"] <= 1e-5 and done["function"] == "digits_predict"
    subprocess.run(
        [
            "cc",
            "-std=c99",
            "-O1",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-shared",
            "-fPIC",
            "digits.c",
            "-o",
            "digits.so",
            "-lm",
        ],
        cwd=dlcore_command.folder,
        check=True,
    )
    with gzip.open(mnist / "t10k-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), "u1", offset=16).reshape(-1, 28, 28)[:50].astype("f4")
    library, pointer = ctypes.CDLL(str(dlcore_command.folder / "digits.so")), ctypes.POINTER(ctypes.c_float)
    out = np.zeros((len(images), 10), "f4")
    for image, row in zip(images, out, strict=True):
        library.digits_predict(np.ascontiguousarray(image).ctypes.data_as(pointer), row.ctypes.data_as(pointer))
    assert abs(out - dlcore.load(folder).predict_proba(images)).max() <= 1e-5


def test_the_printed_configuration_repeats_the_run(image_run, dlcore_command):
    import dlcore

    folder, _ = image_run
    dlcore_command("train", folder / "config.toml", "--threads", 1, "--out", "again", "-q")
    first, second = (dlcore.load(path).get_weights() for path in (folder, dlcore_command.folder / "again"))
    assert [a.tobytes() for a in first] == [b.tobytes() for b in second]


def test_a_table_is_trained_and_measured(table_run, adult, dlcore_command):
    report = json.loads(dlcore_command("evaluate", table_run, adult / "test.csv", "--json").stdout)
    assert report["metrics"]["accuracy"] > 0.7
    rows = list(csv.reader((adult / "test.csv").open()))
    without_answer = "\n".join(",".join(row[:-1]) for row in rows) + "\n"
    piped = dlcore_command("predict", table_run, "-", stdin=without_answer).stdout.splitlines()
    assert piped == dlcore_command("predict", table_run, adult / "test.csv").stdout.splitlines()
    assert len(piped) == 150 and set(piped) <= {"<=50K", ">50K"}


def test_quantities_have_no_probabilities(dlcore_command):
    rows = "".join(f"{i},{i % 7},{i * 0.5 + i % 7}\n" for i in range(120))
    dlcore_command("train", "tabular", "--data", "-", "--epochs", 3, "--out", "run", stdin="a,b,target\n" + rows)
    assert len(dlcore_command("predict", "run", stdin="a,b\n1,2\n3,4\n").stdout.split()) == 2
    assert "no probabilities" in dlcore_command("predict", "run", "--proba", stdin="a,b\n1,2\n", code=2).stderr
    report = json.loads(dlcore_command("info", "run", "--json").stdout)
    assert "classes" not in report


def test_default_folders_are_numbered(adult, dlcore_command):
    words = ("train", "tabular", "--data", adult / "train.csv", "--label-col", "income", "--epochs", 1, "-q")
    assert dlcore_command(*words).stderr == ""
    dlcore_command(*words)
    assert sorted(p.name for p in (dlcore_command.folder / "runs").iterdir()) == ["tabular", "tabular-2"]


def test_a_test_file_is_measured_and_nothing_else(adult, dlcore_command):
    import dlcore

    words = ("train", "tabular", "--data", adult / "train.csv", "--label-col", "income", "--epochs", 3, "-q", "--json")
    plain = json.loads(dlcore_command(*words, "--out", "a").stdout)
    tested = json.loads(dlcore_command(*words, "--out", "b", "--test", adult / "test.csv").stdout)
    assert "test_accuracy" in tested["metrics"] and "test_accuracy" not in plain["metrics"]
    a, b = (dlcore.load(dlcore_command.folder / name).get_weights() for name in "ab")
    assert [w.tobytes() for w in a] == [w.tobytes() for w in b]


def test_another_optimizer_needs_no_other_option(adult, dlcore_command):
    for name in ("sgd", "adam"):
        dlcore_command(
            "train",
            "tabular",
            "--data",
            adult / "train.csv",
            "--label-col",
            "income",
            "--epochs",
            1,
            "--optimizer",
            name,
            "--out",
            name,
        )


# ---- what bad input gets ---------------------------------------------------------------------------------------------------

TABLE = "a,b,label\n1,2,x\n3,4,y\n"


@pytest.mark.parametrize(
    "content, options, code, part",
    [
        (TABLE, ("--label-col", "nope"), 4, "a, b, label"),
        ("a,b\n1,2\n", (), 4, "a, b"),
        ("", (), 4, "empty"),
        ("a,label\n1,x\n2,x\n", (), 4, "one class"),
        ("a,b,label\n1,2,x\n3,y\n", (), 4, "row 3"),
        (None, (), 4, "no such file"),
        (TABLE, ("--set", "trian.lr=1"), 3, "did you mean train.lr?"),
        (TABLE, ("--set", "train.lr=nan"), 3, "finite"),
        (TABLE, ("--set", "model.hidden=[0]"), 3, "at least 1"),
        (TABLE, ("--set", "train.schedule=cosin"), 3, "did you mean cosine?"),
        (TABLE, ("--set", "train.weight-decay=-0.1", "--optimizer", "sgd"), 3, "weight"),
        (TABLE, ("--ema", "1"), 2, "below 1"),
        (TABLE, ("--schedule", "cosin"), 2, "cosine"),
        (TABLE, ("--set", "train.accumulate=0"), 3, "accumulate"),
        (TABLE, ("--set", "train.optimizer-options={beta_3=1.0}"), 3, "beta_3"),
        (TABLE, ("--schedule", "plateau", "--warmup", "0.1"), 3, "no warm-up"),
        (TABLE, ("--freeze", "tail*"), 3, "no layer to freeze matches"),
        (TABLE, ("--init", "missing.dlc"), 4, "missing.dlc"),
        (TABLE, ("--lr-find", "--dry-run"), 2, "exclude each other"),
        (TABLE, ("--preset", "huge"), 2, "no preset"),
        (TABLE, ("--text-col", "b"), 2, "text"),
        (TABLE, ("--device", "cuda"), 7, "no CUDA device can be used"),
        (TABLE, ("--test", "missing.csv"), 4, "missing.csv"),
    ],
)
def test_a_run_that_is_refused_leaves_no_folder(dlcore_command, content, options, code, part):
    if content is not None:
        (dlcore_command.folder / "t.csv").write_text(content)
    done = dlcore_command("train", "tabular", "--data", "t.csv", "--out", "r", *options, code=code)
    assert part in done.stderr and "Traceback" not in done.stderr and done.stdout == ""
    assert {p.name for p in dlcore_command.folder.iterdir()} <= {"t.csv"}


def test_a_full_run_folder_is_never_written_over(adult, dlcore_command):
    (dlcore_command.folder / "r").mkdir()
    (dlcore_command.folder / "r" / "mine").write_text("mine")
    done = dlcore_command(
        "train", "tabular", "--data", adult / "train.csv", "--label-col", "income", "--out", "r", code=2
    )
    assert "not empty" in done.stderr
    assert [p.name for p in (dlcore_command.folder / "r").iterdir()] == ["mine"]


def test_training_that_diverges(adult, dlcore_command):
    done = dlcore_command(
        "train",
        "tabular",
        "--data",
        adult / "train.csv",
        "--label-col",
        "income",
        "--lr",
        "1e30",
        "--optimizer",
        "sgd",
        "--out",
        "r",
        code=5,
    )
    assert "diverged at step" in done.stderr and "Traceback" not in done.stderr


def test_a_full_disk_ends_with_74_and_keeps_no_half_model(mnist, dlcore_command):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    done = dlcore_command(
        "train", "image-classify", "--data", mnist, "--epochs", 2, "--out", "r", code=74, preexec_fn=limit
    )
    assert "Traceback" not in done.stderr and "written" in done.stderr
    assert not (dlcore_command.folder / "r" / "model.dlc").exists()
    assert not [p.name for p in (dlcore_command.folder / "r").iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_before_the_first_step_says_how_to_go_on(dlcore_command, how):
    """While data is read; SIGINT also where the shell had it ignored, as for a script's background processes."""
    os.mkfifo(dlcore_command.folder / "slow.csv")           # nobody writes: the reader waits
    words = [*dlcore_command.words, "train", "tabular", "--data", "slow.csv", "--label-col", "y", "--out", "r"]
    process = subprocess.Popen(words, cwd=dlcore_command.folder, stderr=subprocess.PIPE, text=True,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    folder, end = dlcore_command.folder / "r", time.monotonic() + 120
    while not (folder.exists() and (folder / "log.txt").exists()) and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.2)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 75 and "Traceback" not in err, err
    assert "stopped before the first step" in err and "dlcore resume r" in err


def test_progress_that_nobody_reads_ends_no_training(adult, dlcore_command):
    """A closed pipe, a full device and closed descriptors: the run comes to its end, whatever can be told of it."""
    import dlcore

    for number, ends in enumerate(("2>&1 >/dev/null | head -n 2", "2>/dev/full", "2>&- >&- <&-")):
        words = [*dlcore_command.words, "train", "tabular", "--data", str(adult / "train.csv"), "--label-col", "income",
                 "--epochs", "2", "--out", f"r{number}"]
        script = f"set -o pipefail; {' '.join(words)} {ends}"
        done = subprocess.run(["bash", "-c", script], cwd=dlcore_command.folder, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, (ends, done.stderr)
        assert "Traceback" not in done.stderr and (dlcore_command.folder / f"r{number}" / "result.json").exists()
        assert dlcore.load(dlcore_command.folder / f"r{number}").score is not None
    full = subprocess.run(["bash", "-c", f"{' '.join(dlcore_command.words)} info r0 >/dev/full"], cwd=dlcore_command.folder,
                          capture_output=True, text=True)
    assert full.returncode == 74 and "cannot write standard output" in full.stderr


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_keeps_a_checkpoint_and_the_best_model(mnist, dlcore_command, how):
    import dlcore

    words = [*dlcore_command.words, "train", "image-classify", "--data", str(mnist), "--epochs", "100000", "--out", "r"]
    process = subprocess.Popen(
        words, cwd=dlcore_command.folder, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ,
        preexec_fn=lambda: signal.signal(how, signal.SIG_DFL),      # the tests may run under nohup, which has SIGHUP ignored
    )
    metrics = dlcore_command.folder / "r" / "metrics.jsonl"
    end = time.monotonic() + 120
    while (not metrics.exists() or metrics.read_text().count("\n") < 3) and time.monotonic() < end:
        time.sleep(0.01)
    process.send_signal(how)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 75, err
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    best = min(rows, key=lambda row: row["val_loss"])["epoch"]
    assert f"model.dlc is the model of epoch {best}" in err and "Traceback" not in err and out == ""
    assert "dlcore resume r" in err and (dlcore_command.folder / "r" / "ckpt" / "last").exists()
    from conftest import DATA

    with gzip.open(DATA / "mnist" / "train-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), "u1", offset=16).reshape(-1, 28, 28)
    assert dlcore.load(dlcore_command.folder / "r").predict(images[:5]).shape == (5,)


def test_a_damaged_model_is_refused(image_run, dlcore_command):
    folder, _ = image_run
    data = bytearray((folder / "model.dlc").read_bytes())
    data[len(data) // 2] ^= 1
    (dlcore_command.folder / "bad.dlc").write_bytes(data)
    (dlcore_command.folder / "t.csv").write_text(TABLE)
    for verb in (
        ("info", "bad.dlc"),
        ("predict", "bad.dlc", "t.csv"),
        ("evaluate", "bad.dlc", "t.csv"),
        ("profile", "bad.dlc"),
        ("export", "bad.dlc", "--to", "c", "-o", "x.c"),
    ):
        assert "Traceback" not in dlcore_command(*verb, code=4).stderr
