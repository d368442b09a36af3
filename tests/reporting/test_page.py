"""HTML reports: their content, errors of damaged files, and how a browser shows them."""

import html
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from stemsplit.audio.writing import write_mp3
from stemsplit.errors import InputError
from stemsplit.evaluation.protocol import Protocol
from stemsplit.evaluation.rows import compare, rows_of, spread
from stemsplit.evaluation.scores import METRICS, SongScores
from stemsplit.evaluation.spectrograms import spectrogram_comparison
from stemsplit.report import main, page
from stemsplit.reporting.curves import curves, overlaid
from stemsplit.reporting.results import write_result
from stemsplit.reporting.run_records import differing, read_run
from stemsplit.sweeps.study import create_study

RATE = 8000
PROTOCOL = Protocol("corpus", "valid", ("vocals", "accompaniment"), 44100, 2)
EVIL = '<script>alert("x")</script> & "quotes" [a]'
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


def song(track: str, sdr: float) -> SongScores:
    frames = {
        stem: {metric: [sdr, sdr + 1, np.nan] for metric in METRICS} for stem in PROTOCOL.stems
    }
    dropped = {"vocals: reference is silent": 1}
    return SongScores(track, 3.0, frames, {"vocals": {"SI-SDR": sdr}, "accompaniment": {}}, dropped)


def write_run(folder: Path, lr: float = 1e-3, track: str = EVIL, media: bool = True) -> Path:
    """Write the files of a run with three epochs."""
    folder.mkdir(parents=True)
    config = {"name": "mlp", "corpus": "demo", "targets": ["vocals"], "run_dir": str(folder)}
    config["optimizer"] = {"lr": lr, "_target_": EVIL}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    lines = [
        "step,epoch,train/loss,validation/loss,validation/sdr/vocals,lr,norm/weight/a,norm/weight/b"
    ]
    lines += [
        f"{s},{e},{1 / (e + 1)},{0.5 / (e + 1)},{e - 1},{lr},1.5,{v}"
        for s, e, v in ((3, 0, "2.0"), (7, 1, "nan"), (11, 2, "1e9"))
    ]
    lines.insert(2, "5,1,,,,,,")
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n")
    mixture = [song("a", -5.0), song("b", -4.0)]
    ours = [song("a", 2.0), song("b", 4.0)]
    rows = rows_of({"mixture": mixture, "mlp": ours}, "mixture")
    differences = {"mlp - mixture": compare(ours, mixture)}
    spreads = {"mlp": spread([rows["mlp"], rows["mixture"]])}
    facts = {"model": "mlp", "corpus": "demo", "subset": "valid", "seed": 0, "steps": 12}
    trained_on = {"fingerprint": "0123456789abcdef", "songs": 3}
    write_result(
        folder / "result.json", rows, PROTOCOL, differences, spreads, **facts, trained_on=trained_on
    )
    if media:
        write_excerpts(folder, track)
    return folder


def write_excerpts(folder: Path, track: str) -> None:
    random = np.random.default_rng(0)
    mixture, reference = 0.1 * random.standard_normal((2, 1, 2 * RATE)).astype(np.float32)
    estimates = []
    for name, samples in (("mixture", mixture), ("vocals-reference", reference)):
        write_mp3(folder / f"excerpts/0/{name}.mp3", samples, RATE)
    for epoch in range(12):
        files = {
            "audio": f"0/vocals-epoch-{epoch:04}.mp3",
            "picture": f"0/vocals-epoch-{epoch:04}.png",
        }
        write_mp3(folder / "excerpts" / files["audio"], reference, RATE)
        picture = folder / "excerpts" / files["picture"]
        if epoch:
            shutil.copy(folder / "excerpts/0/vocals-epoch-0000.png", picture)
        else:
            spectrogram_comparison(
                {"mixture": mixture, "vocals": reference}, RATE, picture, track, 30
            )
        sdrs = {"sdr": None if epoch == 11 else epoch, "sdr_mixture": -2.0}
        estimates.append({"epoch": epoch, "step": 10 * epoch, **sdrs, **files})
    listed = {
        "track": track,
        "start_seconds": 1.0,
        "seconds": 2.0,
        "mixture": "0/mixture.mp3",
        "stems": {"vocals": {"reference": "0/vocals-reference.mp3", "estimates": estimates}},
    }
    (folder / "excerpts/index.json").write_text(json.dumps({"excerpts": [listed]}))


def test_run_page_is_complete_and_self_contained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "run")
    main([str(run)])
    assert capsys.readouterr().out.strip() == str(run / "report.html")
    text = (run / "report.html").read_text()
    # Names appear as text, and the page loads nothing.
    assert EVIL not in text
    assert "&lt;script&gt;alert" in text
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", text)
    assert "http" not in re.sub(r"http-equiv", "", text)
    # The headline: SDR with its interval, and the gain over the mixture.
    assert "3.50 dB" in text
    assert "[2.5, 4.5]" in text
    assert "+7.50 dB over the mixture" in text
    assert "2 frames left out (vocals: reference is silent)" in text
    assert "Paired differences" in text
    assert "4.00 ± " not in text  # the mean of 3.5 and -4
    assert "−0.25 ± 5.30" in text
    for heading in ("Curves", "Excerpts of validation songs", "Scores", "Layers", "Settings"):
        assert f">{heading}" in text
    # Eight of twelve epochs are shown, including the first and the last.
    assert text.count('class="take"') == 8
    assert ">epoch 11<" in text.replace(": ", ":")
    assert ">epoch 0: 0.00 dB<" in text
    assert "folder has estimates of 4 more epochs." in text
    assert "0123456" in text


def test_old_run_and_run_without_results_have_a_page(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", media=False)
    result = json.loads((run / "result.json").read_text())
    for metrics in (m for stems in result["scores"].values() for m in stems.values()):
        del metrics["SDR gain"]
        for score in metrics.values():
            for name in ("frames", "songs"):
                score.pop(name, None)
    for name in ("differences", "spreads", "trained_on"):
        del result[name]
    result["protocol"] = "BSS Eval v4, 1 s frames"
    (run / "result.json").write_text(json.dumps(result))
    text = page([run]).read_text()
    assert "+7.50 dB over the mixture" in text
    assert "Excerpts of validation songs" not in text
    for file in ("result.json", "metrics.csv"):
        (run / file).unlink()
    assert "config.yaml" in page([run]).read_text()


def test_comparison_page_of_two_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [write_run(tmp_path / place / "run", lr) for place, lr in (("a", 1e-3), ("b", 1e-4))]
    monkeypatch.chdir(tmp_path)
    path = page(runs)
    assert path == Path("report.html")
    text = path.read_text()
    assert "2 training runs" in text
    assert "a/run" in text
    assert text.count("optimizer.lr") == 1
    assert text.count('class="take"') == 2
    assert '<div class="beside">' in text
    assert "select class" not in text  # all estimates are visible
    records = [read_run(run) for run in runs]
    assert differing(records) == {"optimizer.lr": ["0.001", "0.0001"]}
    with pytest.raises(InputError, match="the same run is given twice"):
        page([runs[0], runs[0]])


def write_evaluation(folder: Path, scores: dict[str, float]) -> Path:
    """Write the result of an evaluation of two test songs, with a median SDR for each system."""
    systems = {name: [song("a", sdr), song("b", sdr + 1)] for name, sdr in scores.items()}
    rows = rows_of(systems, "mixture")
    [first, second, *_] = systems
    differences = {f"{second} - {first}": compare(systems[second], systems[first])}
    write_result(folder / "result.json", rows, PROTOCOL, differences, subset="test")
    return folder


def test_page_shows_a_joint_evaluation_of_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [write_run(tmp_path / name, media=False) for name in ("first", "second")]
    joint = {"mixture": -6.0, "first": 7.0, "second": 8.25}
    evaluation = write_evaluation(tmp_path / "musdb18-test", joint)
    monkeypatch.chdir(tmp_path)
    text = page([*runs, evaluation]).read_text()
    assert "<h1>2 training runs, 1 evaluation</h1>" in text
    trainings, scores = text.split('<section id="trainings"')[1].split('<section id="scores"')
    # The joint scores are the headlines, because both runs are in the evaluation.
    assert "9.25" in trainings
    assert "<td>test</td>" in trainings
    assert "<td>validation</td>" not in trainings
    assert scores.index("<b>musdb18-test</b>") < scores.index("<b>first, validation</b>")
    assert '<tr class="system ours"><th scope="row">second</th>' in scores
    assert "<td>first - mixture</td>" in scores
    # An evaluation without one of the runs is shown, but gives no headlines.
    other = write_evaluation(tmp_path / "other", {"mixture": -6.0, "first": 7.0})
    trainings = page([*runs, other]).read_text().split('<section id="curves"')[0]
    assert "<td>validation</td>" in trainings
    assert "<td>test</td>" not in trainings


def test_evaluation_has_a_page_of_its_own(tmp_path: Path) -> None:
    folder = write_evaluation(tmp_path / "musdb18-test", {"mixture": -6.0, "other tool": 4.0})
    assert page([folder]) == folder / "report.html"
    text = (folder / "report.html").read_text()
    assert "<h1>1 evaluation</h1>" in text
    assert '<th scope="row">other tool</th>' in text
    assert 'id="curves"' not in text
    assert 'id="trainings"' not in text
    (folder / "result.json").write_text('{"scores": 3}')
    with pytest.raises(InputError, match=r"result\.json: is damaged: `scores`"):
        page([folder])


def test_comparison_page_names_runs_without_excerpts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = write_run(tmp_path / "0")
    runs = [first, *(Path(shutil.copytree(first, tmp_path / str(i))) for i in range(1, 8))]
    text = page(runs).read_text()
    assert text.count('class="take"') == 6
    assert "Not shown, to limit the size of this page: 6, 7." in text


def test_damaged_run_files_raise_with_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([str(tmp_path / "nowhere")])
    assert "nowhere: is not the folder of a run; it has no config.yaml" in capsys.readouterr().err
    for case, (file, content, message) in enumerate(
        (
            ("config.yaml", "a: [", "config.yaml: is damaged"),
            ("config.yaml", "3", "config.yaml: is damaged: it contains no settings"),
            ("config.yaml", "targets: 3", "config.yaml: is damaged: targets=3"),
            ("metrics.csv", "step,epoch,lr\n1,0,x\n", "metrics.csv: line 2 is damaged"),
            ("metrics.csv", "a,b\n1,0\n", "metrics.csv: line 2 is damaged"),
            ("result.json", "{", "result.json: is damaged"),
            ("result.json", "[]", "result.json: is damaged"),
            ("result.json", "[" * 100_000, "result.json: is damaged"),
            ("result.json", '{"scores": []}', "result.json: is damaged: `scores`"),
            ("result.json", '{"scores": {"mlp": {"vocals": {"SDR": 3}}}}', "damaged: `scores`"),
            ("excerpts/index.json", "{", "index.json: is damaged"),
            ("excerpts/index.json", '{"excerpts": [{}]}', "index.json: is damaged: `excerpts`"),
            ("config.yaml", b"name: m\xfc", "config.yaml: is damaged"),
            ("metrics.csv", b"step,epoch,lr\n1,0,\xfc\n", "metrics.csv: is damaged"),
        )
    ):
        run = write_run(tmp_path / str(case), media=False)
        (run / file).parent.mkdir(exist_ok=True)
        (run / file).write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(InputError, match=re.escape(message)):
            page([run])
        assert not (run / "report.html").exists()


def test_page_embeds_only_files_of_its_run(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    index = run / "excerpts/index.json"
    secret = tmp_path / "secret.mp3"
    secret.write_bytes(b"secret")
    for wrong in ("../../secret.mp3", "0/nothing.mp3"):
        changed = json.loads(index.read_text())
        changed["excerpts"][0]["mixture"] = wrong
        index.write_text(json.dumps(changed))
        with pytest.raises(InputError, match="there is no file"):
            page([run])
    (run / "excerpts/0/mixture.wav").write_bytes(b"RIFF")
    changed["excerpts"][0]["mixture"] = "0/mixture.wav"
    index.write_text(json.dumps(changed))
    with pytest.raises(InputError, match=r"mixture.wav: a report can embed .png and .mp3 files"):
        page([run])


def test_undefined_score_is_shown_as_dash(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    result = json.loads((run / "result.json").read_text())
    undefined = {"median": float("nan"), "low": float("nan"), "high": float("inf")}
    result["scores"]["mlp"]["vocals"]["SDR"] |= undefined
    (run / "result.json").write_text(json.dumps(result))
    index = json.loads((run / "excerpts/index.json").read_text())
    index["excerpts"][0]["stems"]["vocals"]["estimates"][0]["sdr"] = float("nan")
    (run / "excerpts/index.json").write_text(json.dumps(index))
    text = page([run]).read_text()
    assert "<strong>– dB</strong>" in text
    assert ">epoch 0: – dB<" in text
    assert "nan" not in re.sub(r"base64,[^\"]*", "", text)


def test_negative_loss_has_a_curve(tmp_path: Path) -> None:
    """Negative SI-SDR, for example, does not fit a logarithmic axis."""
    run = write_run(tmp_path / "run", media=False)
    (run / "metrics.csv").write_text("step,epoch,train/loss\n3,0,2.0\n7,1,-10.0\n")
    [chart] = curves(read_run(run))
    assert chart.title == "Loss"
    assert json.loads(chart.data)["series"][0]["points"] == [[3, 2.0], [7, -10.0]]
    [chart] = overlaid([read_run(run), read_run(run)])
    assert json.loads(chart.data)["series"][1]["points"] == [[3, 2.0], [7, -10.0]]


def write_sweep(folder: Path) -> Path:
    """Write a sweep with three trials: two are complete, one is pruned."""
    folder.mkdir()
    study = create_study(folder)
    for place, (lr, sdr) in enumerate(((1e-3, 2.0), (1e-2, 3.5), (1e-1, float("nan")))):
        study.enqueue_trial({"lr": lr})
        trial = study.ask({"lr": FloatDistribution(1e-4, 1.0, log=True)})
        trial.report(sdr, 0)
        if place == 2:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, sdr)
        write_run(folder / str(place), lr, media=False)
    return folder


def test_sweep_page_counts_trials(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path / "sweep")
    kendall = {"tau": 0.5, "low": None, "high": None, "p": 0.0004}
    ranking = {"kendall": kendall, "trials": [{"trial": 1, "downsampled": 3.5, "full": 4.25}]}
    (sweep / "ranking.json").write_text(json.dumps(ranking))
    text = page([sweep]).read_text()
    assert "<dt>trials</dt><dd>3</dd>" in text
    assert "<dt>complete</dt><dd>2</dd>" in text
    assert "<dt>pruned</dt><dd>1</dd>" in text
    assert "<dt>best</dt><dd>3.50 dB (trial 1)</dd>" in text
    assert "The 2 best of 3 trials." in text  # the pruned trial has no SDR
    assert "p 4e−4" in text
    assert "4.25" in text


def test_damaged_sweep_files_raise_with_path(tmp_path: Path) -> None:
    for content, message in ((b"", "holds no sweep"), (b"{nonsense\n{}\n", "is damaged")):
        folder = tmp_path / message
        folder.mkdir()
        (folder / "study.journal").write_bytes(content)
        with pytest.raises(InputError, match=f"study.journal: {message}"):
            page([folder])
    sweep = write_sweep(tmp_path / "sweep")
    (sweep / "ranking.json").write_text("{}")
    with pytest.raises(InputError, match="is damaged: `kendall`"):
        page([sweep])


def test_sweep_page_without_optuna_names_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = write_sweep(tmp_path / "sweep")
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delitem(sys.modules, "stemsplit.sweeps.report", raising=False)
    with pytest.raises(InputError, match=r"optuna is not installed; run pip install"):
        page([sweep])


PROBE = """<script>
window.measured = {errors: [], blocked: []};
addEventListener("error", (e) => measured.errors.push(String(e.message || e.target)), true);
addEventListener("securitypolicyviolation", (e) => measured.blocked.push(e.blockedURI));
for (const kind of ["error", "warn"])
  console[kind] = (...words) => measured.errors.push(words.join(" "));
addEventListener("load", () => setTimeout(() => {
  measured.images = [...document.images].map((image) => image.naturalWidth);
  measured.sounds = [...document.querySelectorAll("audio")].map((sound) => sound.duration);
  measured.width = document.documentElement.scrollWidth;
  measured.window = innerWidth;
  measured.background = getComputedStyle(document.body).backgroundColor;
  measured.shown = [...document.querySelectorAll(".take")].filter((take) => !take.hidden).length;
  const choice = document.querySelector("select.takes");
  if (choice) {
    choice.value = choice.options[choice.options.length - 1].value;
    choice.dispatchEvent(new Event("change"));
    measured.chosen = document.querySelector(".take:not([hidden]) .name").textContent;
  }
  const chart = document.querySelector(".chart");
  chart.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowLeft"}));
  measured.readout = chart.querySelector(".readout").textContent;
  parent.postMessage(JSON.stringify(measured), "*");
}, 2500));
</script>"""
# The window of a browser is at least 500 pixels wide, but a frame in it can be narrower.
FRAME = """<iframe src="probed.html" style="width: {width}px; height: 900px; border: 0"></iframe>
<pre></pre>
<script>
addEventListener("message", (e) => {{ document.querySelector("pre").textContent = e.data; }});
</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [375, 1280])
def test_page_in_browser(dark: bool, width: int, tmp_path: Path) -> None:
    text = page([write_run(tmp_path / "run")]).read_text()
    (tmp_path / "probed.html").write_text(text.replace("<head>", f"<head>{PROBE}", 1))
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME.format(width=width))
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += [f"--window-size={width},900", f"--user-data-dir={tmp_path / 'profile'}"]
    command += [
        f"--blink-settings=preferredColorScheme={int(not dark)}",
        "--virtual-time-budget=20000",
    ]
    ended = subprocess.run(
        [*command, frame.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    match = re.search("<pre>(.+)</pre>", ended.stdout)
    assert match, ended.stdout[-2000:] + ended.stderr[-2000:]
    measured = json.loads(html.unescape(match[1]))
    assert measured["errors"] == []
    assert measured["blocked"] == []
    assert (
        len(measured["images"]) == 8 + 2
    )  # eight spectrograms, and a strip for each of two layers
    assert all(width > 0 for width in measured["images"])
    assert len(measured["sounds"]) == 8 + 2
    assert all(1.5 < seconds < 2.5 for seconds in measured["sounds"])
    assert measured["width"] <= measured["window"] == width
    assert measured["shown"] == 1
    assert measured["chosen"].startswith("estimate, epoch 0: SDR 0.00 dB")
    assert measured["readout"].startswith("step 7: ")
    rgb = [int(part) for part in re.findall(r"\d+", measured["background"])][:3]
    assert (max(rgb) < 60) if dark else (min(rgb) > 200)
