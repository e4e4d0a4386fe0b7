"""What happens to a pair file under construction: killed, resumed, shared out, given up."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import multiprocessing
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from augment import ChangedPairs, Digits, ImageError, PairStore, SpatialChange, write_pairs
from augment.store.partial import Partial
from tests.augment.slow_writing import write


@dataclass
class Broken:
    """Digits of which some cannot be read."""

    bad: tuple[int, ...]
    name: str = "broken"
    classes: Sequence[str] = ()

    @property
    def indices(self) -> Tensor:
        return torch.arange(40)

    def __len__(self) -> int:
        return 40

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        for index in indices:
            if index in self.bad:
                raise ImageError(f"{index}.png cannot be read")
        return Digits("test", size=12, digit=8).batch(indices)


@dataclass(frozen=True)
class Named:
    """Two conditions: darker by a drawn factor, or black."""

    conditions: tuple[str, ...] = ("dark", "black")

    @property
    def parameter_names(self) -> tuple[str, ...]:
        return ("kind", "factor")

    def draw(self, count: int, *, generator: torch.Generator | None = None) -> Tensor:
        kind = torch.randint(len(self.conditions), (count, 1), generator=generator)
        return torch.cat([kind, torch.rand(count, 1, generator=generator)], 1)

    def condition(self, parameters: Tensor) -> Tensor:
        return parameters[:, 0].long()

    def apply(self, images: Tensor, parameters: Tensor) -> Tensor:
        return images * (parameters[:, 1] * (parameters[:, 0] == 0))[:, None, None, None]


@dataclass
class Writer:
    """A process that writes pairs. It is forked, as one that begins anew imports torch for seconds."""

    target: Path
    pause: float = 0.0
    seed: int = 0
    processes: int = 1

    def __post_init__(self) -> None:
        fork = multiprocessing.get_context("fork")
        self.done, done = fork.Pipe(duplex=False)
        self.process = fork.Process(target=write, args=(self.target, self.pause, self.seed, self.processes, done))
        self.process.start()
        done.close()

    def kill(self) -> list[int]:
        """Kills it once its journal holds some work; gives the processes that it had started."""
        journal, workers = self.target.with_name(f"{self.target.name}.partial") / "journal.jsonl", list[int]()
        while not journal.exists() or not journal.stat().st_size:
            _, *workers = self.done.recv()
        self.process.kill()
        self.process.join()
        return workers

    def finish(self) -> list[int]:
        """Images done, as sent along the way."""
        counts = []
        with contextlib.suppress(EOFError):
            while True:
                counts.append(self.done.recv()[0])
        self.process.join()
        assert self.process.exitcode == 0
        return counts


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("whole") / "p.h5"
    Writer(target).finish()
    return target


def test_a_killed_writer_goes_on_to_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    target = tmp_path / "p.h5"
    for _ in range(2):
        Writer(target, pause=0.2).kill()
        assert [path.name for path in tmp_path.iterdir()] == ["p.h5.partial"]
    records = [json.loads(line) for line in (tmp_path / "p.h5.partial" / "journal.jsonl").read_text().splitlines()]

    counts = Writer(target).finish()

    units = [unit for record in records for unit in range(*record["units"])]
    assert len(units) == len(set(units)) > 0
    assert counts[0] > 5 * len(units) >= counts[-1] - 40 * len(counts) > 0  # what was there is not made again
    assert target.read_bytes() == whole.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["p.h5"]


def test_another_seed_starts_anew(whole: Path, tmp_path: Path) -> None:
    target = tmp_path / "p.h5"
    Writer(target, pause=0.2, seed=1).kill()

    assert Writer(target).finish()[0] <= 50
    assert target.read_bytes() == whole.read_bytes()


def test_two_processes_write_the_bytes_of_one_and_end_with_it(whole: Path, tmp_path: Path) -> None:
    target = tmp_path / "p.h5"
    workers = Writer(target, pause=0.2, processes=2).kill()

    assert len(workers) == 2
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]
    Writer(target, processes=2).finish()
    assert target.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), OSError(errno.EIO, "the share is gone")])
def test_an_error_of_the_source_keeps_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    pairs = ChangedPairs({"test": Broken(())}, SpatialChange(), draws=3)
    expected = write_pairs(tmp_path / "whole.h5", pairs).path.read_bytes()
    whole, asked = Broken.batch, []

    def failing(self: Broken, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        if 20 in indices:
            raise error
        return whole(self, indices)

    def counted(self: Broken, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        asked.extend(indices)
        return whole(self, indices)

    monkeypatch.setattr(Broken, "batch", failing)
    with pytest.raises(type(error)) as caught:
        write_pairs(tmp_path / "p.h5", pairs, batch=8)
    assert caught.value is error  # not told as a fault of the file that was written
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.h5.partial", "whole.h5"]

    monkeypatch.setattr(Broken, "batch", counted)
    assert write_pairs(tmp_path / "p.h5", pairs, batch=8).path.read_bytes() == expected
    assert sorted(asked) == [0, *range(20, 40)]  # the first tells whether the data are still the same
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.h5", "whole.h5"]


def test_a_disk_that_fills_up_amid_the_work_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match=r"could not write .*p\.h5: the disk is full, [\d,]+ bytes are needed"):
        write_pairs(tmp_path / "p.h5", ChangedPairs({"test": Broken(())}, SpatialChange()))

    assert list(tmp_path.iterdir()) == []


def test_a_kill_while_the_index_is_written_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = ChangedPairs({"test": Digits("test", size=12, digit=8)}, SpatialChange(), draws=2)
    expected = write_pairs(tmp_path / "whole.h5", pairs).path.read_bytes()
    replace = Path.replace

    def interrupted(self: Path, target: Path) -> Path:
        if self.suffix == ".h5":
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_pairs(tmp_path / "p.h5", pairs)
    monkeypatch.undo()
    left = tmp_path / "p.h5.partial" / "tables.h5"
    with left.open("r+b") as stream:  # as if cut off amid the index
        stream.write(b"torn" * 20)
        stream.seek(-50, os.SEEK_END)
        stream.truncate()

    assert write_pairs(tmp_path / "p.h5", pairs, progress=pytest.fail).path.read_bytes() == expected


def test_two_writers_of_one_file_are_kept_apart(tmp_path: Path) -> None:
    partial = Partial(tmp_path / "p.h5", {"clean": ((1, 1, 8, 8), "uint8")}, "other")

    with pytest.raises(OSError, match="another process is writing"):
        write_pairs(tmp_path / "p.h5", ChangedPairs({"test": Digits("test")}, SpatialChange()))
    partial.discard()


def test_images_that_cannot_be_read_are_skipped_with_their_pairs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pairs = ChangedPairs({"test": Broken((0, 7))}, SpatialChange(), draws=3)

    with caplog.at_level(logging.WARNING):
        written = write_pairs(tmp_path / "p.h5", pairs)

    assert (written.pairs, written.images) == (38 * 3, 38 * 4)
    assert written.skipped == ("0.png cannot be read", "7.png cannot be read")
    assert [record.getMessage() for record in caplog.records] == [f"skipped: {reason}" for reason in written.skipped]
    store = PairStore(written.path)
    assert set(store.sources.tolist()) == set(range(40)) - {0, 7}
    whole = PairStore(write_pairs(tmp_path / "w.h5", ChangedPairs({"test": Broken(())}, SpatialChange(), draws=3)).path)
    rows = torch.tensor([row for row in range(120) if row // 3 not in (0, 7)])
    for part, expected in zip(store.batch(range(114)), whole.batch(rows), strict=True):
        assert_close(part, expected)


def test_strict_makes_an_unreadable_image_fatal(tmp_path: Path) -> None:
    for bad in ((0,), (7,)):
        with pytest.raises(ValueError, match=f"strict: {bad[0]}.png cannot be read"):
            write_pairs(tmp_path / "p.h5", ChangedPairs({"test": Broken(bad)}, SpatialChange()), strict=True)
        assert not (tmp_path / "p.h5").exists()
    with pytest.raises(ValueError, match="no image of the pairs could be read, 40 failed"):
        write_pairs(tmp_path / "p.h5", ChangedPairs({"test": Broken(tuple(range(40)))}, SpatialChange()))


def test_a_split_may_show_conditions_of_its_own(tmp_path: Path) -> None:
    sources = {"train": Digits("train", size=12, digit=8), "unseen": Digits("test", size=12, digit=8)}
    changes: dict[str, Any] = {"train": Named(), "unseen": SpatialChange()}

    written = write_pairs(tmp_path / "p.h5", ChangedPairs(sources, changes, draws={"train": 2, "unseen": 1}))

    assert set(written.counts["train"]) == {"dark", "black"}
    assert sum(written.counts["train"].values()) == 2394
    assert written.counts["unseen"] == {"SpatialChange": 300}
    black = PairStore(written.path, "train", conditions=["black"])
    assert len(black) == written.counts["train"]["black"]
    assert not black.batch(range(len(black))).changed.any()
    unseen = PairStore(written.path, "unseen")
    assert unseen.parameter_names == ["kind", "factor", "rotation", "scale", "shift_x", "shift_y"]
    again = SpatialChange().apply(sources["unseen"].images, unseen.parameters[:, 2:])
    assert ((again * 255).round() - unseen.batch(range(300)).changed).abs().max() <= 1
    with pytest.raises(ValueError, match=r"conditions must be some of .*got \['fog'\]"):
        PairStore(written.path, conditions=["fog"])
    with pytest.raises(ValueError, match=r"holds no pairs under the conditions \['dark'\]"):
        PairStore(written.path, "unseen", conditions=["dark"])


def test_images_of_two_shapes_are_refused(tmp_path: Path) -> None:
    sources = {"a": Digits("validation", size=12, digit=8), "b": Digits("test", size=13, digit=8)}

    with pytest.raises(ValueError, match=r"one shape, got .*12, 12.* 13, 13"):
        write_pairs(tmp_path / "p.h5", ChangedPairs(sources, SpatialChange()), batch=1000)
    with pytest.raises(ValueError, match=r"one shape, got \(1, 13, 13\) after \(1, 12, 12\)"):
        write_pairs(tmp_path / "p.h5", ChangedPairs(sources, SpatialChange()), batch=50)


def test_a_target_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match=r"could not write .*p\.h5"):
        write_pairs(tmp_path / "file" / "p.h5", ChangedPairs({"test": Digits("test")}, SpatialChange()))
