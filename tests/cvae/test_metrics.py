from __future__ import annotations

import json
from pathlib import Path

from cvae.progress import MetricLog, read_records


def test_records_are_on_disk_at_once(tmp_path: Path) -> None:
    file = tmp_path / "run" / "metrics.jsonl"
    log = MetricLog(file)
    log.add({"step": 1, "loss": 0.1})

    assert [json.loads(line) for line in file.read_text().splitlines()] == log.records == [{"step": 1, "loss": 0.1}]


def test_no_file_keeps_records_in_memory() -> None:
    log = MetricLog(None)
    log.add({"step": 1})

    assert log.records == [{"step": 1}]


def test_records_after_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text("".join(f'{{"step": {step}}}\n' for step in (1, 2, 3)))

    log = MetricLog(file, until=2)
    log.add({"step": 3, "loss": 4.0})

    assert [record["step"] for record in log.records] == [1, 2, 3]
    assert file.read_text() == '{"step": 1}\n{"step": 2}\n{"step": 3, "loss": 4.0}\n'


def test_line_cut_by_a_kill_is_dropped(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"step": 1}\n{"step": 2, "lo')

    assert MetricLog(file, until=9).records == [{"step": 1}]
    assert file.read_text() == '{"step": 1}\n'


def test_a_new_run_begins_an_empty_file(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"step": 1}\n')

    assert MetricLog(file).records == []
    assert file.read_text() == ""


def test_records_end_where_a_kill_cut_them(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    assert read_records(file) == []
    file.write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.25}\n{"step": 3, "lo')

    assert read_records(file) == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}]
