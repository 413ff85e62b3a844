"""Whatever is changed in the files is found, and named by the first wrong entry or by its head file."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

from shivya_daemon.ledgers.audit import Ledger, LedgerCorrupt, LedgerError, verify
from shivya_daemon.ledgers.audit.canonical import canonical, seal, unseal
from shivya_daemon.ledgers.audit.files import Files
from shivya_daemon.ledgers.audit.recovery import MAX_TORN_BYTES, MAX_TORN_FILES

FLIPS = 150


@pytest.fixture(params=[220, 450], ids=["whole", "beginning dropped"])
def damaged(request: pytest.FixtureRequest, tmp_path: Path, write) -> Path:
    """The folder of a ledger of several files, closed."""
    write(request.param).close()
    assert verify(tmp_path).ok
    assert (verify(tmp_path).first > 0) == (request.param == 450)
    return tmp_path


def protected(folder: Path) -> list[Path]:
    """The files in which every bit counts."""
    return sorted(path for path in folder.iterdir() if path.suffix not in (".lock", ".torn"))


def index_at(folder: Path, path: Path, offset: int) -> int | None:
    """The entry to which a byte belongs, None in a head file."""
    (found,) = [part for part in Files.at(folder).parts() if part.path == path] or [None]
    return None if found is None else found.first + path.read_bytes()[:offset].count(b"\n")


def flip(path: Path, offset: int, bit: int) -> bytes:
    intact = path.read_bytes()
    changed = bytearray(intact)
    changed[offset] ^= 1 << bit
    path.write_bytes(changed)
    return intact


def test_one_flipped_bit_anywhere_is_found_and_named(damaged):
    draw = random.Random(1)
    paths = protected(damaged)
    sizes = [path.stat().st_size for path in paths]
    for path in [*paths, *draw.choices(paths, sizes, k=FLIPS)]:
        offset = draw.randrange(path.stat().st_size)
        expected = index_at(damaged, path, offset)
        intact = flip(path, offset, draw.randrange(8))
        damage = verify(damaged).damage
        assert damage is not None, f"{path.name} at {offset}"
        assert (damage.place, damage.index) == (path.name, expected), f"{path.name} at {offset}: {damage}"
        path.write_bytes(intact)
    assert verify(damaged).ok


def test_one_flipped_bit_in_every_part_of_an_entry(damaged):
    """Each field and the newline, of the first, a middle and the last entry of each file."""
    for part in Files.at(damaged).parts():
        text = part.path.read_bytes()
        starts = [0, *(at + 1 for at, byte in enumerate(text) if byte == 10)]
        for number in (0, len(starts) // 2, len(starts) - 2):
            line = text[starts[number] : starts[number + 1]]
            names = (
                b'"data"',
                b'"number"',
                b'"index"',
                b'"previous_hash"',
                b'"timestamp"',
                b'"hash"',
                b"\n",
                b"}",
            )
            for place in {line.rfind(name) for name in names} | {line.rfind(b":") + 2, len(line) - 5, 0}:
                flip(part.path, starts[number] + max(place, 0), 0)
                damage = verify(damaged).damage
                assert damage is not None
                assert (damage.place, damage.index) == (part.path.name, part.first + number)
                part.path.write_bytes(text)


def test_a_damaged_ledger_is_not_written_to(damaged, anna):
    """Opening reads no more than the end, but what it reads it checks; `verify_chain` reads all."""
    newest = Files.at(damaged).newest
    size = newest.stat().st_size
    for offset in (size - 1, size - 10, size - 70):
        expected = index_at(damaged, newest, offset)
        intact = flip(newest, offset, 1)
        with pytest.raises(LedgerCorrupt, match=f"entry {expected} ") as caught:
            Ledger.open(damaged, anna)
        assert isinstance(caught.value, ValueError)
        assert caught.value.index == expected
        newest.write_bytes(intact)
    intact = flip(newest, 5, 1)
    with Ledger.open(damaged, anna) as ledger:
        assert ledger.verify_chain() is False
    newest.write_bytes(intact)
    with Ledger.open(damaged, anna) as ledger:
        assert ledger.verify_chain() is True


def test_lost_files_are_named(damaged, anna, tmp_path_factory):
    """Also the oldest one: the head file tells a file that was dropped from one that is gone."""
    firsts = {part.path.name: part.first for part in Files.at(damaged).parts()}
    for path in protected(damaged):
        copy = tmp_path_factory.mktemp("copy") / "ledger"
        shutil.copytree(damaged, copy)
        (copy / path.name).unlink()
        damage = verify(copy).damage
        assert damage is not None, path.name
        assert damage.index == firsts.get(path.name), f"{path.name}: {damage}"
        if path.name in ("ledger.jsonl", "ledger.jsonl.head"):
            with pytest.raises(LedgerCorrupt, match="missing"):
                Ledger.open(copy, anna)
    for path in damaged.iterdir():
        path.unlink()
    with pytest.raises(LedgerError, match="no ledger"):
        verify(damaged)


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize(
    ("change", "first_bad"),
    [
        (lambda lines: lines[:7] + lines[8:], 7),
        (lambda lines: [*lines[:7], lines[8], lines[7], *lines[9:]], 7),
        (lambda lines: [*lines[:8], lines[7], *lines[8:]], 8),
        (lambda lines: lines[:-1], 20),
        (lambda lines: lines[:5], 5),
        (lambda lines: [], 0),
        (lambda lines: [*lines, lines[-1]], 21),
        (lambda lines: [*lines, b"\n"], 21),
        (lambda lines: [*lines, b"{}\n"], 21),
        (lambda lines: [*lines, bytes(100), b"\n"], 21),
        (lambda lines: [*lines, b"x" * 200_000, b"\n"], 21),
        (lambda lines: [*lines[:-1], lines[-1][:-1]], 20),
        (lambda lines: [*lines[:4], lines[4].replace(b"\n", b"\r\n"), *lines[5:]], 4),
        (lambda lines: [b"\xef\xbb\xbf", *lines], 0),
    ],
    ids=[
        "one taken out", "two exchanged", "one twice", "last taken away", "cut to five", "emptied",
        "last twice", "empty line", "no entry", "zeros", "long line", "last newline", "line ends", "mark",
    ],
)  # fmt: skip
def test_lines_that_do_not_belong(tmp_path, write, anna, change, first_bad):
    write(20).close()
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(b"".join(change(lines_of(path))))
    damage = verify(tmp_path).damage
    assert damage is not None
    assert (damage.index, damage.place) == (first_bad, "ledger.jsonl")
    try:
        with Ledger.open(tmp_path, anna) as ledger:  # reads the end only
            assert len(lines_of(path)) == 21
            assert ledger.verify_chain() is False
    except LedgerCorrupt as caught:
        assert caught.index == first_bad


def rewrite(folder: Path, number: int) -> None:
    """What somebody without the key can do: change one entry and make all hashes after it right again."""
    path = folder / "ledger.jsonl"
    out, previous = [], "0" * 64
    for line in lines_of(path):
        fields, _ = unseal(line)
        if fields["index"] == number:
            fields["data"]["action"] = "NOOP"
        fields["previous_hash"] = previous
        out.append(seal(canonical(fields)))
        _, previous = unseal(out[-1])
    path.write_bytes(b"".join(out))


@pytest.mark.parametrize("number", [1, 10, 20])
def test_a_rewritten_log_does_not_have_the_signed_root(tmp_path, write, number):
    write(20).close()
    rewrite(tmp_path, number)
    damage = verify(tmp_path).damage
    assert damage is not None
    assert str(damage) == "ledger.jsonl.head: was written for other entries than these 21"


def test_heads_of_different_keys_are_not_of_one_ledger(tmp_path, write, anna, ben, tmp_path_factory):
    other = tmp_path_factory.mktemp("ben")
    for folder, identity in ((tmp_path, anna), (other, ben)):
        write(150, folder, identity).close()
    for part in Files.at(tmp_path).parts()[1:]:
        assert part.opening is not None
        intact = part.opening.read_bytes()
        shutil.copy(other / part.opening.name, part.opening)
        damage = verify(tmp_path).damage
        assert damage is not None
        assert (damage.place, damage.index) == (part.opening.name, None)
        assert "another key" in damage.reason
        part.opening.write_bytes(intact)


def test_a_head_from_before_the_newest_file_was_not_left_by_a_crash(tmp_path, write, anna):
    with write(5) as ledger:
        old = (tmp_path / "ledger.jsonl.head").read_bytes()
        for number in range(100):
            ledger.add_entry({"number": number, "pad": "x" * 700})
    (tmp_path / "ledger.jsonl.head").write_bytes(old)
    assert str(verify(tmp_path).damage) == "ledger.jsonl.head: is older than the files beside it"
    with pytest.raises(LedgerCorrupt, match="is older than"):
        Ledger.open(tmp_path, anna)


def test_an_older_head_than_the_entries_is_what_a_crash_leaves(tmp_path, write, anna):
    with write(5) as ledger:
        ledger.sync()
        head = (tmp_path / "ledger.jsonl.head").read_bytes()
        ledger.add_entry({"number": 5})
    (tmp_path / "ledger.jsonl.head").write_bytes(head)
    report = verify(tmp_path)
    assert report.ok
    assert report.head is not None
    assert (report.tip.size, report.head.tip.size) == (7, 6)
    with Ledger.open(tmp_path, anna) as ledger:
        assert ledger.durable == 7


def test_every_cut_behind_the_head_is_recovered_and_every_cut_before_it_is_damage(tmp_path, write, anna):
    """What a power failure may leave of the newest file: any beginning of it that holds what was durable."""
    with write(6) as ledger:
        ledger.sync()
        durable = ledger.durable
        head = (tmp_path / "ledger.jsonl.head").read_bytes()
        for number in range(3):
            ledger.add_entry({"number": number, "pad": "x" * 80})
    path = tmp_path / "ledger.jsonl"
    lines, text = lines_of(path), path.read_bytes()
    ends = [sum(map(len, lines[:count])) for count in range(len(lines) + 1)]
    for cut in [*range(ends[durable], len(text), 7), *ends[durable:]]:
        path.write_bytes(text[:cut])
        (tmp_path / "ledger.jsonl.head").write_bytes(head)
        whole = max(count for count, end in enumerate(ends) if end <= cut)
        assert verify(tmp_path).torn == cut - ends[whole]
        with Ledger.open(tmp_path, anna) as ledger:
            assert ledger.get_manifest()["chain_length"] == ledger.durable == whole
            if cut == ends[whole]:
                assert ledger.torn is None
            else:
                assert ledger.torn is not None
                assert (ledger.torn.index, ledger.torn.bytes) == (whole, cut - ends[whole])
                assert ledger.torn.evidence.read_bytes() == text[ends[whole] : cut]
            ledger.add_entry({"after": "the crash"})
            assert ledger.verify_chain()
    for cut in [*range(0, ends[durable], 97), *ends[:durable], ends[durable] - 1]:
        path.write_bytes(text[:cut])
        (tmp_path / "ledger.jsonl.head").write_bytes(head)
        with pytest.raises(LedgerCorrupt) as caught:
            Ledger.open(tmp_path, anna)
        assert caught.value.index == max(count for count, end in enumerate(ends) if end <= cut)
        assert path.read_bytes() == text[:cut], "nothing is repaired that was promised to be there"


def test_evidence_is_bounded(tmp_path, anna):
    for number in range(MAX_TORN_FILES + 3):
        with Ledger.open(tmp_path, anna) as ledger:
            ledger.add_entry({"number": number})
        with (tmp_path / "ledger.jsonl").open("ab") as file:
            file.write(b"\0" * (MAX_TORN_BYTES + 5))
    with Ledger.open(tmp_path, anna) as ledger:
        assert ledger.torn is not None
        assert ledger.torn.bytes == MAX_TORN_BYTES + 5
        assert ledger.torn.evidence.stat().st_size == MAX_TORN_BYTES
        assert ledger.verify_chain()
    assert len(list(tmp_path.glob("*.torn"))) == MAX_TORN_FILES


@pytest.mark.parametrize("left", [b"", b'{"data":{"me', None])
def test_a_crash_at_birth_is_no_damage(tmp_path, anna, left):
    path = tmp_path / "ledger.jsonl"
    if left is None:
        Ledger.open(tmp_path, anna).close()
        (tmp_path / "ledger.jsonl.head").unlink()
    else:
        path.write_bytes(left)
    with Ledger.open(tmp_path, anna) as ledger:
        assert ledger.get_manifest()["chain_length"] == ledger.durable == 1
        assert ledger.verify_chain()


def test_a_report_of_damage_says_what_a_person_needs(tmp_path, write):
    write(5).close()
    path = tmp_path / "ledger.jsonl"
    path.write_text(path.read_text().replace('"number":2', '"number":3'))
    report = verify(tmp_path)
    assert not report.ok
    assert str(report.damage) == "ledger.jsonl: entry 3 does not have the hash of its content"
    assert json.loads(lines_of(path)[3])["index"] == 3
