"""Disks that fail or fill up at every single step, and machines that crash or lose power there."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shivya_daemon.core.identity import Identity
from shivya_daemon.ledgers.audit import EntryRefused, Ledger, LedgerError, Limits, verify
from shivya_daemon.ledgers.audit.files import Files
from shivya_daemon.ledgers.audit.reading import Walk, read_head, snapshot

LIMITS = Limits(files=2, file_bytes=1 << 16)
CALLS = ("open", "pwrite", "fsync", "ftruncate", "truncate", "replace", "rename", "unlink")
PAD = "x" * 3000


class Crash(BaseException):
    """The process ends here."""


class Faults:
    """Counts the calls that change the disk; from call `at` on, `count` of them do what `strike` says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        self.at, self.count = -1, 0
        self.strike: Callable[[str, tuple[Any, ...]], None] = lambda name, arguments: None
        self.real = {name: getattr(os, name) for name in CALLS}
        for name in CALLS:
            monkeypatch.setattr(os, name, self._counting(name))

    def _counting(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            number, self.calls = self.calls, self.calls + 1
            if self.at <= number < self.at + self.count:
                self.strike(name, arguments)
            return self.real[name](*arguments, **options)

        return call

    def arm(self, at: int, count: int, strike: Callable[[str, tuple[Any, ...]], None]) -> None:
        self.calls, self.at, self.count, self.strike = 0, at, count, strike

    def heal(self) -> None:
        self.count = 0

    def full(self, name: str, arguments: tuple[Any, ...]) -> None:
        """The disk is full: of a line the half still fits."""
        if name == "pwrite":
            descriptor, data, at = arguments
            self.real["pwrite"](descriptor, data[: len(data) // 2], at)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def crash(self, name: str, arguments: tuple[Any, ...]) -> None:
        if name == "pwrite":
            descriptor, data, at = arguments
            self.real["pwrite"](descriptor, data[: len(data) // 2], at)
        raise Crash


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    return Faults(monkeypatch)


@pytest.fixture(scope="module")
def nearly_full(tmp_path_factory: pytest.TempPathFactory, anna: Identity) -> Path:
    """A ledger whose next entries fill a file, which drops the oldest one."""
    folder = tmp_path_factory.mktemp("nearly") / "full"
    with Ledger.open(folder / "ledger.jsonl", anna, LIMITS) as ledger:
        files = Files.at(folder)
        while not files.numbers() or files.newest.stat().st_size < LIMITS.file_bytes - 3 * len(PAD):
            ledger.add_entry({"pad": PAD})
    return folder


def act(ledger: Ledger, accepted: list[str]) -> None:
    """Six entries and three syncs, with a new file between; what is refused is refused."""
    for number in range(6):
        with contextlib.suppress(EntryRefused):
            accepted.append(ledger.add_entry({"number": number, "pad": PAD}).hash)
        if number % 2:
            with contextlib.suppress(LedgerError):
                ledger.sync()


def let_go(ledger: Ledger) -> None:
    """What the kernel does when a process has died."""
    if not ledger._closed:
        os.close(ledger._lock)
        os.close(ledger._appender._file)


def hashes(folder: Path) -> list[str]:
    """Of every entry that is kept, after checking them all."""
    with snapshot(Files.at(folder)) as found:
        return [entry.hash for entry in Walk.through(found).all(found)]


def steps(nearly_full: Path, tmp_path: Path, faults: Faults, anna: Identity) -> Iterator[tuple[int, Path]]:
    """A fresh copy for every call that `act` makes, from opening to closing."""
    for at in itertools.count():
        folder = tmp_path / str(at)
        faults.heal()
        shutil.copytree(nearly_full, folder)
        yield at, folder
        if faults.calls <= at:
            assert at > 30, "nothing was tested"
            return


@pytest.mark.parametrize("count", [1, 2, 8], ids=["once", "twice", "for a while"])
def test_a_disk_that_fails_at_any_step(nearly_full, tmp_path, faults, anna, count):
    """What is accepted is there, what is refused is not, and the ledger goes on when the disk does."""
    refusals = 0
    for at, folder in steps(nearly_full, tmp_path, faults, anna):
        before = hashes(folder)
        accepted: list[str] = []
        with Ledger.open(folder, anna, LIMITS) as ledger:
            faults.arm(at, count, faults.full)
            act(ledger, accepted)
            calls = faults.calls
            faults.heal()
            refusals += len(accepted) < 6
            accepted.append(ledger.add_entry({"healed": True, "pad": PAD}).hash)
            assert ledger.verify_chain(), at
            assert ledger.compute_merkle_root() == ledger.verify().tip.tree.root().hex()
        kept = hashes(folder)
        assert (before + accepted)[-len(kept) :] == kept, at
        assert set(accepted) <= set(kept), at
        with Ledger.open(folder, anna, LIMITS) as ledger:
            assert ledger.torn is None, at
            act(ledger, accepted)
            assert ledger.verify_chain(), at
        assert len(Files.at(folder).parts()) == 2
        faults.calls = calls
    assert refusals > 3


def test_a_process_that_dies_at_any_step(nearly_full, tmp_path, faults, anna):
    """Every entry that was accepted is there, of the next one all or nothing, and it can be opened."""
    for at, folder in steps(nearly_full, tmp_path, faults, anna):
        before = hashes(folder)
        accepted: list[str] = []
        faults.arm(at, 1, faults.crash)
        ledger = None
        try:
            ledger = Ledger.open(folder, anna, LIMITS)
            act(ledger, accepted)
            ledger.close()
        except Crash:
            if ledger is not None:
                let_go(ledger)
        calls = faults.calls
        faults.heal()
        assert verify(folder).ok, at
        with Ledger.open(folder, anna, LIMITS) as again:
            assert again.verify_chain(), at
            kept = hashes(folder)
            written = [hash for hash in kept if hash not in before]
            assert written[: len(accepted)] == accepted, at
            assert len(written) - len(accepted) in (0, 1), at
            act(again, accepted)
            assert again.verify_chain(), at
        assert len(Files.at(folder).parts()) == 2, at
        assert sorted(folder.glob("*.head")) == sorted(heads(folder)), at
        faults.calls = calls


def heads(folder: Path) -> list[Path]:
    files = Files.at(folder)
    return [files.head, *(part.opening for part in files.parts() if part.opening is not None)]


class Disk:
    """What a power failure leaves at the least: names and contents as of the last fsync of each."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        # Every file that had contents stays open, so that no later one gets its number and with it them.
        self._held = [os.open(path, os.O_RDONLY) for path in folder.iterdir()]
        self._contents = {path.stat().st_ino: path.read_bytes() for path in folder.iterdir()}
        self._names = self._listing()
        real = os.fsync

        def fsync(descriptor: int) -> None:
            real(descriptor)
            found = os.fstat(descriptor)
            if stat.S_ISDIR(found.st_mode):
                self._names = self._listing()
            else:
                self._held.append(os.dup(descriptor))
                self._contents[found.st_ino] = Path(f"/proc/self/fd/{descriptor}").read_bytes()

        monkeypatch.setattr(os, "fsync", fsync)

    def _listing(self) -> dict[str, int]:
        return {path.name: path.stat().st_ino for path in self._folder.iterdir()}

    def after_power_failure(self, folder: Path, *, names_survive: bool) -> None:
        folder.mkdir()
        for name, number in (self._listing() if names_survive else self._names).items():
            (folder / name).write_bytes(self._contents.get(number, b""))

    def close(self) -> None:
        for descriptor in self._held:
            os.close(descriptor)


@pytest.mark.parametrize("names_survive", [True, False])
def test_power_that_fails_at_any_step(nearly_full, tmp_path, faults, anna, names_survive):
    """What was durable is there, whatever else the disk had not yet written."""
    for at, folder in steps(nearly_full, tmp_path, faults, anna):
        with pytest.MonkeyPatch.context() as patch:
            disk = Disk(folder, patch)
            faults.arm(at, 1, faults.crash)
            accepted: list[str] = []
            told = read_head(Files.at(folder).head).checkpoint
            ledger = None
            with contextlib.suppress(Crash):
                ledger = Ledger.open(folder, anna, LIMITS)
                act(ledger, accepted)
                ledger.close()
            calls = faults.calls
            faults.heal()
            if ledger is not None:
                told = ledger.checkpoint
                let_go(ledger)
            rest = tmp_path / f"{at} after"
            disk.after_power_failure(rest, names_survive=names_survive)
            disk.close()
        with Ledger.open(rest, anna, LIMITS) as again:
            assert again.durable >= told.size, at
            assert again.verify_chain(), at
            if again.verify().first <= told.size < again.durable:
                assert again.prove_consistency(told.size), at
            act(again, accepted)
            assert again.verify_chain(), at
        faults.calls = calls


def test_a_file_that_could_not_be_begun_leaves_nothing_that_misleads(nearly_full, tmp_path, anna, faults):
    """The head was put beside it, then the disk failed; a short entry still fitted, and moved the border."""
    folder = tmp_path / "ledger"
    shutil.copytree(nearly_full, folder)

    def no_renaming(name: str, arguments: tuple[Any, ...]) -> None:
        if name == "rename":
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    with Ledger.open(folder, anna, LIMITS) as ledger:
        faults.arm(0, 1000, no_renaming)
        with pytest.raises(EntryRefused, match="Input/output error"):
            while True:
                ledger.add_entry({"pad": PAD})
        (abandoned,) = set(folder.glob("*.head")) - set(heads(folder))
        ledger.add_entry({"short": True})
        faults.heal()
        ledger.add_entry({"pad": PAD})
        assert not abandoned.exists()
        assert ledger.verify_chain()
    with Ledger.open(folder, anna, LIMITS) as ledger:
        assert ledger.verify_chain()


def test_after_a_failed_fsync_everything_since_the_last_one_is_written_again(tmp_path, anna, monkeypatch):
    """The kernel may have dropped its copy and call the next fsync a success."""
    ledger = Ledger.open(tmp_path, anna, monotonic=lambda: 0.0)
    path, real = tmp_path / "ledger.jsonl", os.fsync

    def fsync_that_loses(descriptor: int) -> None:
        os.ftruncate(descriptor, durable)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    durable = path.stat().st_size
    entry = ledger.add_entry({"number": 1})
    text = path.read_bytes()
    monkeypatch.setattr(os, "fsync", fsync_that_loses)
    with pytest.raises(LedgerError, match="Input/output error"):
        ledger.sync()
    assert (ledger.durable, ledger.next_deadline()) == (1, 1.0), "tried again, but not at once"
    assert len(path.read_bytes()) == durable
    monkeypatch.setattr(os, "fsync", real)
    ledger.handle_timer(1.0)
    assert path.read_bytes() == text
    assert ledger.durable == entry.index + 1
    assert ledger.verify_chain()
    ledger.close()


def test_a_disk_that_refuses_for_long_is_not_promised_more_than_a_batch(tmp_path, anna, monkeypatch):
    def refuse(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with Ledger.open(tmp_path, anna, Limits(batch_bytes=5000), monotonic=lambda: 0.0) as ledger:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", refuse)
            accepted = 0
            with pytest.raises(EntryRefused, match="was not written: cannot make the ledger durable"):
                while True:
                    ledger.add_entry({"pad": "x" * 1000})
                    accepted += 1
            assert accepted == 5
        ledger.add_entry({})
        assert ledger.verify_chain()
        assert ledger.durable == accepted + 1


def test_half_a_line_that_cannot_even_be_cut_off_does_no_harm(tmp_path, anna, faults):
    with Ledger.open(tmp_path, anna) as ledger:

        def all_refused(name: str, arguments: tuple[Any, ...]) -> None:
            faults.full(name, arguments)

        faults.arm(0, 10, all_refused)
        with pytest.raises(EntryRefused, match="No space left"):
            ledger.add_entry({"pad": PAD})
        faults.heal()
        assert verify(tmp_path).torn > 0, "a reader sees it, and knows it for what it is"
        assert ledger.add_entry({"short": True}).index == 1
        assert verify(tmp_path).torn == 0
        assert ledger.verify_chain()
