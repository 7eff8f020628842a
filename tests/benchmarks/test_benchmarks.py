"""Each benchmark runs and reports; how fast it is on this machine is not tested."""

from __future__ import annotations

import json
import math
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import docs
from benchmarks.__main__ import BENCHMARKS, main
from benchmarks.measure import Report, Result

METRICS = {
    "place": {"in memory", "durable", "a task of 2,000 on 200 agents", "RSS with 2,000 tasks"},
    "offers": {"to the callback", "to the scheduler"},
    "status": {"500 tasks to RUNNING"},
    "list": {"all 200 jobs", "a row of all", "one job", "a page of 100, p99"},
    "submit": {"JSON, 1 connection", ".aurora, 16 connections", "JSON, 16 connections, p99"},
    "start": {"single", "a burst of 3", "containers left behind"},
    "recover": {"500 tasks, serving", "reconciled", "RSS"},
    "sahara": {
        "20 clusters of 3, Active",
        "GET meanwhile, p99",
        "RSS with 20 clusters of 3",
        "GET plugins",
        "GET 20 clusters, beside a bare handler",
        "GET all 20 clusters",
        "POST a template",
        "POST a cluster, beside a bare handler",
    },
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.docker if name == "start" else ()) for name in BENCHMARKS],
)
def test_a_benchmark_reports(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "results.json"
    assert main([name, "--quick", "--json", str(file)]) == 0
    written = json.loads(file.read_text())
    assert set(written) == {"results", "samples", "machine", "notes"}
    assert written["notes"] == []
    metrics = [result["metric"] for result in written["results"]]
    for wanted in METRICS[name]:
        assert any(wanted in metric for metric in metrics), f"{wanted}: {metrics}"
    for result in written["results"]:
        assert set(result) == set(Result.__dataclass_fields__)
        assert result["name"] == name
        assert math.isfinite(result["value"])
        assert result["value"] > 0 or result["metric"] == "containers left behind"
        assert written["samples"][f"{name}/{result['metric']}"]
        if result["peer"]:
            assert result["ratio"] == pytest.approx(result["value"] / result["peer_value"])
    told = capsys.readouterr().out
    assert [metric for metric in metrics if metric not in told] == []


def test_every_row_of_the_table_has_a_benchmark() -> None:
    assert set(METRICS) == set(BENCHMARKS)


def test_an_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["sumbit"])
    assert "there are place, offers" in capsys.readouterr().err


def report() -> Report:
    made = Report()
    made.results = [
        Result("place", "in memory", 9000.0, "tasks/s", "pymesos", 18000.0, 0.5, "ratio >= 0.5", True),
        Result("offers", "callback", 300.0, "ms", "json.loads", 100.0, 3.0, "<= 2.5x json.loads", False),
        Result("list", "a|row", 2.0, "us", "", 0.0, 0.0, "<= 10 us", True),
        Result(
            "sahara", "GET", 900.0, "/s", "Sahara 19", 200.0, 4.5, "ratio >= 5", False, recorded=True
        ),
    ]
    made.notes = ["start was left out: no Docker daemon answers"]
    return made


def test_the_page_keeps_what_stands_around_the_figures(tmp_path: Path) -> None:
    page, plot = tmp_path / "performance.md", tmp_path / "performance.svg"
    page.write_text(f"before\n{docs.BEGIN}\nold\n{docs.END}\nafter\n")
    docs.rewrite(report(), page, plot)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith(f"{docs.END}\nafter\n")
    assert "old" not in text
    assert "| place | in memory | 9,000 tasks/s | 18,000 (pymesos) | 0.50 | ratio >= 0.5 | yes |" in text
    assert "a\\|row" in text
    assert "- start was left out" in text
    root = ElementTree.fromstring(plot.read_text())
    bars = [e for e in root.iter() if e.tag.endswith("rect") and e.get("fill", "").startswith("#")]
    assert [bar.get("fill") for bar in bars] == ["#2e7d32", "#c62828"]
    assert "green: met, red: missed, grey: none" in plot.read_text()
    docs.rewrite(report(), page, plot)
    assert page.read_text().count(docs.BEGIN) == 1


def test_a_page_without_the_markers_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text("nothing\n")
    with pytest.raises(ValueError, match="has lost its markers"):
        docs.rewrite(report(), page, tmp_path / "performance.svg")
    assert page.read_text() == "nothing\n"


def test_the_goal_of_a_plot_is_a_speed() -> None:
    place, offers, row, _ = report().results
    assert (docs.speed(place), docs.wanted(place)) == (0.5, 0.5)
    assert (docs.speed(offers), docs.wanted(offers)) == (pytest.approx(1 / 3), pytest.approx(0.4))
    assert docs.wanted(row) is None
