"""result.json: scores, standard JSON, and the count of test scorings."""

import json
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from stemsplit.evaluation.protocol import Protocol
from stemsplit.evaluation.rows import Row, Score
from stemsplit.reporting.documents import RESULT, read_json
from stemsplit.reporting.page import decibels, interval
from stemsplit.reporting.results import count_test_scoring, counted_as, write_result

PROTOCOL = Protocol("musdb18", "valid", ("vocals", "accompaniment"), 44100, 2)


def test_every_scoring_of_test_songs_is_counted(tmp_path: Path) -> None:
    write_result(tmp_path / "result.json", {}, PROTOCOL, model="m", test_scored={})
    assert count_test_scoring(tmp_path, "musdb18") == 1
    assert count_test_scoring(tmp_path, "musdb18") == 2
    assert count_test_scoring(tmp_path, "mir1k") == 1
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["test_scored"] == {"musdb18": 2, "mir1k": 1}
    assert result["model"] == "m"


def test_new_results_keep_count_of_test_scorings(tmp_path: Path) -> None:
    count_test_scoring(tmp_path, "musdb18")  # of a run that was killed before it wrote results
    write_result(tmp_path / "result.json", {}, PROTOCOL, model="resumed", test_scored={})
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["model"], result["test_scored"]) == ("resumed", {"musdb18": 1})


def test_concurrent_counts_are_not_lost(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(lambda _: count_test_scoring(tmp_path, "musdb18"), range(50)))
    assert sorted(counts) == list(range(1, 51))


def test_result_is_standard_json_and_keeps_minus_infinity(tmp_path: Path) -> None:
    worst = Score(-math.inf, -math.inf, 2.0, "median", 2, None)
    row = Row(
        {"vocals": {"SI-SDR": worst, "SDR": Score(None, None, None, "median", 0, 0)}}, 2, 8, {}, {}
    )
    write_result(tmp_path / "result.json", {"m": row}, PROTOCOL, steps=math.nan)

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    text = (tmp_path / "result.json").read_text()
    result = json.loads(text, parse_constant=refuse)
    figures = result["scores"]["m"]["vocals"]
    assert figures["SI-SDR"] == {"median": "-inf", "low": "-inf", "high": 2.0, "songs": 2}
    assert float(figures["SI-SDR"]["median"]) == -math.inf
    assert figures["SDR"]["median"] is None
    assert result["steps"] is None
    assert read_json(tmp_path / "result.json", RESULT)["scores"] == result["scores"]
    assert decibels(figures["SI-SDR"]["median"]) == "−∞"
    assert interval(figures["SI-SDR"]) == "[−∞, 2.0]"


def test_damaged_result_file_is_renamed(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text('{"test_scored": {"mus')
    write_result(tmp_path / "result.json", {}, PROTOCOL, model="m", test_scored={})
    assert json.loads((tmp_path / "result.json").read_text())["model"] == "m"
    assert (tmp_path / "result.json.damaged").is_file()


def test_own_songs_are_counted_by_folder() -> None:
    assert counted_as("musdb18", Path("/music")) == "musdb18"
    assert counted_as("folder", Path("/music")) == "/music"
