"""Reports: what is in a page, and that a browser shows it without a network."""

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
from stemsplit.evaluation.scores import METRICS, SongScores
from stemsplit.evaluation.spectrograms import spectrogram_comparison
from stemsplit.evaluation.tables import compare, rows_of, spread
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


def a_run(folder: Path, lr: float = 1e-3, track: str = EVIL, media: bool = True) -> Path:
    """What a training of three epochs leaves."""
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
        excerpts_of(folder, track)
    return folder


def excerpts_of(folder: Path, track: str) -> None:
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


def test_a_runs_page_holds_it_all_and_nothing_from_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = a_run(tmp_path / "run")
    main([str(run)])
    assert capsys.readouterr().out.strip() == str(run / "report.html")
    text = (run / "report.html").read_text()
    # Names are text, and nothing is fetched.
    assert EVIL not in text
    assert "&lt;script&gt;alert" in text
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", text)
    assert "http" not in re.sub(r"http-equiv", "", text)
    # SDR with its interval, and the gain over the mixture.
    assert "3.50 dB" in text
    assert "[2.5, 4.5]" in text
    assert "+7.50 dB over the mixture" in text
    assert "vocals: reference is silent: 2 frames" in text
    assert "Paired differences" in text
    assert "4.00 ± " not in text  # the mean of 3.5 and -4
    assert "−0.25 ± 5.30" in text
    for heading in ("Curves", "Excerpts of validation songs", "Scores", "Layers", "Settings"):
        assert f">{heading}" in text
    # Of twelve epochs eight, the first and the last among them.
    assert text.count('class="take"') == 8
    assert ">epoch 11<" in text.replace(": ", ":")
    assert ">epoch 0: 0.00 dB<" in text
    assert "4 other epochs lie in the run" in text
    assert "0123456" in text


def test_a_run_of_former_days_or_one_that_has_just_begun_has_a_page(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run", media=False)
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


def test_several_runs_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [a_run(tmp_path / place / "run", lr) for place, lr in (("a", 1e-3), ("b", 1e-4))]
    monkeypatch.chdir(tmp_path)
    path = page(runs)
    assert path == Path("report.html")
    text = path.read_text()
    assert "2 trainings" in text
    assert "a/run" in text
    assert text.count("optimizer.lr") == 1
    assert text.count('class="take"') == 2
    assert '<div class="beside">' in text
    assert "select class" not in text  # each is in sight
    records = [read_run(run) for run in runs]
    assert differing(records) == {"optimizer.lr": ["0.001", "0.0001"]}
    with pytest.raises(InputError, match="is given twice"):
        page([runs[0], runs[0]])


def test_of_many_runs_a_page_says_whose_excerpts_it_leaves_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = a_run(tmp_path / "0")
    runs = [first, *(Path(shutil.copytree(first, tmp_path / str(i))) for i in range(1, 8))]
    text = page(runs).read_text()
    assert text.count('class="take"') == 6
    assert "Left out for their size: 6, 7." in text


def test_what_is_no_run_or_is_damaged_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([str(tmp_path / "nowhere")])
    assert "nowhere: not a run's folder, it holds no config.yaml" in capsys.readouterr().err
    for place, (file, content, says) in enumerate(
        (
            ("config.yaml", "a: [", "config.yaml: is damaged"),
            ("config.yaml", "3", "config.yaml: is damaged: it holds no settings"),
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
        run = a_run(tmp_path / str(place), media=False)
        (run / file).parent.mkdir(exist_ok=True)
        (run / file).write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(InputError, match=re.escape(says)):
            page([run])
        assert not (run / "report.html").exists()


def test_a_page_takes_no_file_from_outside_its_run(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    index = run / "excerpts/index.json"
    secret = tmp_path / "secret.mp3"
    secret.write_bytes(b"secret")
    for wrong in ("../../secret.mp3", "0/nothing.mp3"):
        changed = json.loads(index.read_text())
        changed["excerpts"][0]["mixture"] = wrong
        index.write_text(json.dumps(changed))
        with pytest.raises(InputError, match="there is no"):
            page([run])
    (run / "excerpts/0/mixture.wav").write_bytes(b"RIFF")
    changed["excerpts"][0]["mixture"] = "0/mixture.wav"
    index.write_text(json.dumps(changed))
    with pytest.raises(InputError, match=r"mixture.wav: a page holds .png and .mp3"):
        page([run])


def test_a_figure_that_is_no_number_is_a_dash(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    result = json.loads((run / "result.json").read_text())
    nothing = {"median": float("nan"), "low": float("nan"), "high": float("inf")}
    result["scores"]["mlp"]["vocals"]["SDR"] |= nothing
    (run / "result.json").write_text(json.dumps(result))
    index = json.loads((run / "excerpts/index.json").read_text())
    index["excerpts"][0]["stems"]["vocals"]["estimates"][0]["sdr"] = float("nan")
    (run / "excerpts/index.json").write_text(json.dumps(index))
    text = page([run]).read_text()
    assert "<strong>– dB</strong>" in text
    assert ">epoch 0: – dB<" in text
    assert "nan" not in re.sub(r"base64,[^\"]*", "", text)


def test_a_loss_below_zero_has_a_curve(tmp_path: Path) -> None:
    """As −SI-SDR, of which no logarithm can be drawn."""
    run = a_run(tmp_path / "run", media=False)
    (run / "metrics.csv").write_text("step,epoch,train/loss\n3,0,2.0\n7,1,-10.0\n")
    [chart] = curves(read_run(run))
    assert chart.title == "Loss"
    assert json.loads(chart.data)["series"][0]["points"] == [[3, 2.0], [7, -10.0]]
    [chart] = overlaid([read_run(run), read_run(run)])
    assert json.loads(chart.data)["series"][1]["points"] == [[3, 2.0], [7, -10.0]]


def a_sweep(folder: Path) -> Path:
    """Of three trials two ended and one was pruned."""
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
        a_run(folder / str(place), lr, media=False)
    return folder


def test_a_sweeps_page_counts_its_trials(tmp_path: Path) -> None:
    sweep = a_sweep(tmp_path / "sweep")
    kendall = {"tau": 0.5, "low": None, "high": None, "p": 0.0004}
    ranking = {"kendall": kendall, "trials": [{"trial": 1, "downsampled": 3.5, "full": 4.25}]}
    (sweep / "ranking.json").write_text(json.dumps(ranking))
    text = page([sweep]).read_text()
    assert "<dt>trials</dt><dd>3</dd>" in text
    assert "<dt>complete</dt><dd>2</dd>" in text
    assert "<dt>pruned</dt><dd>1</dd>" in text
    assert "<dt>best</dt><dd>3.50 dB (trial 1)</dd>" in text
    assert "Of the 2 best of 3 trials." in text  # the other one has no figure
    assert "p 4e−4" in text
    assert "4.25" in text


def test_a_sweep_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for content, says in ((b"", "holds no sweep"), (b"{nonsense\n{}\n", "is damaged")):
        folder = tmp_path / says
        folder.mkdir()
        (folder / "study.journal").write_bytes(content)
        with pytest.raises(InputError, match=f"study.journal: {says}"):
            page([folder])
    sweep = a_sweep(tmp_path / "sweep")
    (sweep / "ranking.json").write_text("{}")
    with pytest.raises(InputError, match="is damaged: `kendall`"):
        page([sweep])


def test_a_sweeps_page_without_optuna_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = a_sweep(tmp_path / "sweep")
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delitem(sys.modules, "stemsplit.sweeps.report", raising=False)
    with pytest.raises(InputError, match=r"needs optuna, of the extra `sweeps`"):
        page([sweep])


PROBE = """<script>
window.found = {errors: [], blocked: []};
addEventListener("error", (e) => found.errors.push(String(e.message || e.target)), true);
addEventListener("securitypolicyviolation", (e) => found.blocked.push(e.blockedURI));
for (const kind of ["error", "warn"])
  console[kind] = (...words) => found.errors.push(words.join(" "));
addEventListener("load", () => setTimeout(() => {
  found.images = [...document.images].map((image) => image.naturalWidth);
  found.sounds = [...document.querySelectorAll("audio")].map((sound) => sound.duration);
  found.width = document.documentElement.scrollWidth;
  found.window = innerWidth;
  found.background = getComputedStyle(document.body).backgroundColor;
  found.shown = [...document.querySelectorAll(".take")].filter((take) => !take.hidden).length;
  const choice = document.querySelector("select.takes");
  if (choice) {
    choice.value = choice.options[choice.options.length - 1].value;
    choice.dispatchEvent(new Event("change"));
    found.chosen = document.querySelector(".take:not([hidden]) .name").textContent;
  }
  const chart = document.querySelector(".chart");
  chart.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowLeft"}));
  found.readout = chart.querySelector(".readout").textContent;
  parent.postMessage(JSON.stringify(found), "*");
}, 2500));
</script>"""
# A window of a browser is no narrower than 500 pixels, a frame in it is.
FRAME = """<iframe src="probed.html" style="width: {width}px; height: 900px; border: 0"></iframe>
<pre></pre>
<script>
addEventListener("message", (e) => {{ document.querySelector("pre").textContent = e.data; }});
</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here")
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [375, 1280])
def test_a_browser_shows_it(dark: bool, width: int, tmp_path: Path) -> None:
    text = page([a_run(tmp_path / "run")]).read_text()
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
    found = json.loads(html.unescape(match[1]))
    assert found["errors"] == []
    assert found["blocked"] == []
    assert len(found["images"]) == 8 + 2  # spectrograms, and a strip for each layer
    assert all(width > 0 for width in found["images"])
    assert len(found["sounds"]) == 8 + 2
    assert all(1.5 < seconds < 2.5 for seconds in found["sounds"])
    assert found["width"] <= found["window"] == width
    assert found["shown"] == 1
    assert found["chosen"].startswith("estimate, epoch 0: SDR 0.00 dB")
    assert found["readout"].startswith("step 7: ")
    rgb = [int(part) for part in re.findall(r"\d+", found["background"])][:3]
    assert (max(rgb) < 60) if dark else (min(rgb) > 200)
