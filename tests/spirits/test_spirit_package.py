"""`.spirit` files: what is packed comes back, and whatever else claims to be one is refused in one line."""

from __future__ import annotations

import io
import json
import os
import stat
import struct
import zipfile
from hashlib import sha3_256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from shivya import cli

from shivya_daemon.spirits import package
from shivya_daemon.spirits.manifest import canonical, file_digest
from shivya_daemon.spirits.package import MAX_BYTES, MAX_FILES, BadPackage, installed, pack, read

FILES = {"index.html": b"<!doctype html>\n", "art/glow.js": b"export {};\n"}
SOURCE: dict[str, Any] = {
    "spirit": 1,
    "name": "lantern",
    "version": "1.2.3",
    "author": "Ada Example",
    "licence": "MIT",
    "tags": ["light"],
    "tier": "paid",
    "price": 2_500_000,
    "permissions": {"network": "read", "compute": "none", "display": "required"},
    "entry": "index.html",
    "kernel": "none",
    "settings": {"glow": 0.5, "night": True, "scheme": "bio"},
}


def folder(at: Path, files: dict[str, bytes] = FILES, **changes: Any) -> Path:
    at.mkdir(exist_ok=True)
    for name, content in files.items():
        (at / name).parent.mkdir(parents=True, exist_ok=True)
        (at / name).write_bytes(content)
    (at / "manifest.json").write_text(json.dumps(SOURCE | changes, indent=2))
    return at


def entry(name: str, mode: int = stat.S_IFREG | 0o644, method: int = zipfile.ZIP_STORED) -> zipfile.ZipInfo:
    made = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    made.create_system, made.external_attr, made.compress_type = 3, mode << 16, method
    return made


def zipped(files: list[tuple[zipfile.ZipInfo, bytes]], comment: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for made, content in files:
            archive.writestr(made, content)
        archive.comment = comment
    return buffer.getvalue()


def forged(
    extra: tuple[tuple[zipfile.ZipInfo, bytes], ...] = (), comment: bytes = b"", **changes: Any
) -> bytes:
    """A package that is right but for what is asked for."""
    document = SOURCE | {"files": {name: file_digest(content) for name, content in FILES.items()}} | changes
    inside = [("manifest.json", canonical(document)), *sorted(FILES.items())]
    return zipped([*((entry(name), content) for name, content in inside), *extra], comment)


def refusal(data: bytes) -> str:
    with pytest.raises(BadPackage) as refused:
        read(data)
    said = str(refused.value)
    assert "\n" not in said and len(said) < 300 and said.isprintable()
    return said


def test_what_is_packed_comes_back(tmp_path: Path) -> None:
    data = pack(folder(tmp_path / "lantern"))
    assert data == forged(), "the forger of these tests makes the same bytes"
    found = read(data)
    assert dict(found.files) == FILES
    assert (found.manifest.name, found.manifest.tier, found.manifest.price) == ("lantern", "paid", 2_500_000)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        text = archive.read("manifest.json")
    assert found.digest == sha3_256(text).digest()
    assert json.loads(text) == found.manifest.to_json()


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    first = folder(tmp_path / "a")
    second = folder(tmp_path / "b", dict(reversed(FILES.items())))
    (second / "manifest.json").write_text(json.dumps(dict(reversed(SOURCE.items()))))
    os.utime(second / "index.html", (1, 1))
    (second / "index.html").chmod(0o600)
    assert pack(first) == pack(second)


def test_every_byte_of_content_is_in_the_digest(tmp_path: Path) -> None:
    before = read(pack(folder(tmp_path / "a"))).digest
    assert read(pack(folder(tmp_path / "b", FILES | {"art/glow.js": b"export {}; \n"}))).digest != before
    assert read(pack(folder(tmp_path / "c", price=2_500_001))).digest != before


def test_the_built_in_one_is_a_package() -> None:
    found = package.built_in("physarum")
    assert (found.manifest.name, found.manifest.tier, found.manifest.kernel) == (
        "physarum",
        "free",
        "physarum",
    )
    assert found.manifest.permissions == {"network": "read", "compute": "minimal", "display": "required"}
    settings = found.manifest.settings
    assert (settings["speed"], settings["exploration"], settings["decay"]) == (1.0, 0.3, 0.1)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("../up.js", "file named"), ("/etc/x.js", "file named"), ("a/../../b.js", "file named"),
        ("a\\b.js", "file named"), ("C:x.js", "file named"), (".hidden.js", "file named"), ("", "file named"),
        ("a//b.js", "file named"), ("a/b/c/d/e.js", "file named"), ("x" * 65 + ".js", "file named"),
        ("caf\u00e9.js", "file named"), ("run.sh", "only css"), ("noend", "only css"),
        ("a.js/", "file named"), ("b\x1b[2J.js", "file named"),
    ],
)  # fmt: skip
def test_names_that_lead_elsewhere_are_refused(name: str, said: str) -> None:
    assert said in refusal(forged(extra=((entry(name), b"x"),)))


def test_links_and_devices_are_refused() -> None:
    for kind in (stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFDIR):
        assert "link or a device" in refusal(forged(extra=((entry("x.js", kind | 0o777), b"/etc/passwd"),)))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_no_file_may_be_there_twice() -> None:
    assert "twice" in refusal(forged(extra=((entry("index.html"), b"another"),)))


def test_nothing_grows_when_it_is_opened() -> None:
    bomb = (entry("z.txt", method=zipfile.ZIP_DEFLATED), b"\0" * (64 * 1024 * 1024))
    assert "compressed" in refusal(forged(extra=(bomb,)))


def test_entries_that_lie_on_each_other_are_refused() -> None:
    """The directory of one large file is told again and again."""
    whole = zipped([(entry(f"{i:02}.txt"), b"\0" * (1024 * 1024 if i == 0 else 1)) for i in range(40)])
    at = whole.index(b"PK\x01\x02")
    directory = bytearray(whole[at:-22])
    size = len(directory) // 40
    for i in range(1, 40):
        directory[i * size + 16 : i * size + 28] = directory[16:28]  # its checksum and sizes
        directory[i * size + 42 : i * size + 46] = directory[42:46]  # its place
    assert "more bytes than it has" in refusal(whole[:at] + bytes(directory) + whole[-22:])


def test_a_crowd_is_refused_before_it_is_listed() -> None:
    many = tuple((entry(f"f{i}.txt"), b"") for i in range(MAX_FILES))
    assert "more than 64 files" in refusal(forged(extra=many))
    lied = bytearray(forged())
    struct.pack_into("<L", lied, len(lied) - 10, 2**31)  # the length of the directory
    assert "more than 64 files" in refusal(bytes(lied))


def test_sizes_are_bounded(tmp_path: Path) -> None:
    assert "may have" in refusal(b"x" * (MAX_BYTES + 1))
    large = folder(tmp_path / "a", FILES | {"a.txt": b"x" * MAX_BYTES})
    with pytest.raises(BadPackage, match="may have"):
        pack(large)
    both = folder(tmp_path / "b", FILES | {f"{i}.txt": b"x" * (MAX_BYTES // 2) for i in range(3)})
    with pytest.raises(BadPackage, match="may have"):
        pack(both)
    crowd = folder(tmp_path / "c", FILES | {f"{i}.txt": b"" for i in range(MAX_FILES)})
    with pytest.raises(BadPackage, match="more than 64 files"):
        pack(crowd)
    with pytest.raises(BadPackage, match="16384 bytes"):
        read(forged(author="a" * 17_000))


@pytest.mark.parametrize("junk", [b"before", b"PK\x03\x04" + b"\0" * 26])
def test_no_byte_is_hidden_in_a_package(junk: bytes) -> None:
    good = forged()
    refusal(junk + good)
    refusal(good + junk)
    assert "no package" in refusal(forged(comment=b"psst"))
    other_time = entry("x.txt")
    other_time.date_time = (2020, 1, 1, 0, 0, 0)
    named = {name: file_digest(content) for name, content in (*FILES.items(), ("x.txt", b"x"))}
    assert "no package needs" in refusal(forged(extra=((other_time, b"x"),), files=named))


def test_files_and_manifest_must_agree() -> None:
    assert "is not the file" in refusal(forged(extra=((entry("x.txt"), b"x"),)))
    digests = {name: file_digest(content) for name, content in FILES.items()}
    assert "lacks gone.js" in refusal(forged(files=digests | {"gone.js": "0" * 64}))
    assert "is not the file" in refusal(forged(files=digests | {"art/glow.js": "0" * 64}))
    assert "holds no manifest.json" in refusal(zipped([(entry("index.html"), b"")]))
    pretty = json.dumps(SOURCE | {"files": digests}, indent=1).encode()
    inside = [(entry("manifest.json"), pretty), *((entry(n), c) for n, c in sorted(FILES.items()))]
    assert "not written as" in refusal(zipped(inside))


WRONG: list[tuple[str, object, str]] = [
    ("spirit", 2, "update shivya"), ("spirit", True, "update shivya"),
    ("name", "No Such", "'name' must be"), ("name", "x" * 33, "'name' must be"),
    ("name", 3, "'name' must be"),
    ("version", "1.0", "three numbers"), ("version", "1.0.0\n", "three numbers"),
    ("author", "", "printable"), ("author", "\u202egro", "printable"), ("author", "\ud800", "printable"),
    ("licence", "x" * 41, "printable"), ("tags", "light", "a list"), ("tags", ["x"] * 17, "a list"),
    ("tags", ["A B"], "each of 'tags'"), ("tier", "cheap", "free or paid"),
    ("tier", ["free"], "free or paid"),
    ("price", -1, "whole number"), ("price", 1.5, "whole number"), ("price", True, "whole number"),
    ("price", 2**63, "whole number"), ("price", 0, "above 0"), ("tier", "free", "must be 0"),
    ("permissions", {"network": "read"}, "'permissions' must say"),
    ("permissions", [], "'permissions' must say"),
    ("permissions", {"network": "write", "compute": "none", "display": "required"}, "none or read"),
    ("permissions", {"network": [], "compute": "none", "display": "required"}, "none or read"),
    ("entry", "gone.html", "'entry'"), ("entry", "art/glow.js", "'entry'"), ("entry", None, "'entry'"),
    ("kernel", "doom", "physarum or none"), ("kernel", "physarum", "needs the permission"),
    ("settings", {"x": None}, "the setting"), ("settings", {"X": 1}, "the setting"),
    ("settings", {f"s{i}": 1 for i in range(33)}, "at most 32"), ("settings", {"x": 1e13}, "the setting"),
    ("settings", {"x": []}, "the setting"), ("files", [], "'files'"),
    ("files", {"index.html": "0"}, "digest"), ("files", {"../x.js": "0" * 64}, "file named"),
    ("run_on_start", "rm", "means nothing here"), ("x\x1b[2J", 1, "means nothing here"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value", "said"), WRONG, ids=[f"{k}-{i}" for i, (k, _, _) in enumerate(WRONG)]
)
def test_what_a_manifest_may_not_say(key: str, value: object, said: str) -> None:
    assert said in refusal(forged(**{key: value}))


@pytest.mark.parametrize("key", SOURCE)
def test_a_manifest_says_everything(tmp_path: Path, key: str) -> None:
    at = folder(tmp_path / "lantern")
    (at / "manifest.json").write_text(json.dumps({k: v for k, v in SOURCE.items() if k != key}))
    with pytest.raises(BadPackage, match=f"lacks '{key}'"):
        pack(at)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "{", "[" * 100_000, '{"price": NaN}', '{"price": ' + "9" * 5000 + "}", "\xff\xfe"],
)
def test_a_manifest_that_is_no_manifest(tmp_path: Path, text: str) -> None:
    at = folder(tmp_path / "lantern")
    (at / "manifest.json").write_text(text, encoding="latin-1")
    with pytest.raises(BadPackage, match=r"manifest\.json"):
        pack(at)


def test_a_folder_with_links_is_not_packed(tmp_path: Path) -> None:
    at = folder(tmp_path / "lantern")
    (at / "secret.txt").symlink_to("/etc/passwd")
    with pytest.raises(BadPackage, match="is a link"):
        pack(at)
    (at / "secret.txt").unlink()
    (at / "more").symlink_to(tmp_path)
    with pytest.raises(BadPackage, match="is a link"):
        pack(at)
    (at / "more").unlink()
    os.mkfifo(at / "pipe.txt")
    with pytest.raises(BadPackage, match="is not a file"):
        pack(at)


GOOD = forged()


@given(st.binary(max_size=300))
@example(b"")
@example(b"PK\x05\x06" + b"\0" * 18)
def test_noise_is_no_package(noise: bytes) -> None:
    refusal(noise)


@given(
    st.lists(
        st.tuples(st.integers(0, len(GOOD) - 1), st.integers(1, 255)), min_size=1, max_size=4, unique=True
    )
)
def test_no_changed_byte_passes(changes: list[tuple[int, int]]) -> None:
    data = bytearray(GOOD)
    for at, by in changes:
        data[at] ^= by
    if bytes(data) != GOOD:
        refusal(bytes(data))


@given(st.integers(0, len(GOOD) - 1))
def test_no_part_passes_for_the_whole(length: int) -> None:
    refusal(GOOD[:length])


def test_what_is_installed_is_read_and_what_is_bad_is_told(tmp_path: Path) -> None:
    told: list[tuple[str, str]] = []

    def refused(path: Path, why: str) -> None:
        told.append((path.name, why))

    assert [p.manifest.name for p in installed(tmp_path / "none", refused)] == ["physarum"]
    (tmp_path / "lantern.spirit").write_bytes(GOOD)
    (tmp_path / "lantern-2.spirit").write_bytes(GOOD)
    (tmp_path / "bad.spirit").write_bytes(b"PK")
    (tmp_path / "folder.spirit").mkdir()
    (tmp_path / "gone.spirit").symlink_to("nowhere")
    (tmp_path / "notes.txt").write_text("no package")
    assert [p.manifest.name for p in installed(tmp_path, refused)] == ["physarum", "lantern"]
    assert [name for name, _ in told] == ["bad.spirit", "folder.spirit", "gone.spirit", "lantern.spirit"]
    assert "another package is named lantern" in told[-1][1]


# The command


def test_the_command_packs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at, out = str(folder(tmp_path / "lantern")), tmp_path / "lantern.spirit"
    assert cli.main(["spirit", "pack", at, "-o", str(out)]) == 0
    assert out.read_bytes() == GOOD
    assert read(out).digest.hex() in capsys.readouterr().out
    assert cli.main(["spirit", "pack", at, "-o", str(out), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["manifest"]["name"] == "lantern" and document["bytes"] == len(GOOD)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lantern", "lantern.spirit"]


def test_the_command_says_in_one_line_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = folder(tmp_path / "lantern", color="red")
    for arguments, code, said in (
        ([str(at), "-o", str(tmp_path / "x.spirit")], 2, "the key 'color'"),
        ([str(at), "-o", str(tmp_path / "x.zip")], 2, "must end with .spirit"),
        ([str(tmp_path / "nowhere"), "-o", str(tmp_path / "x.spirit")], 2, "cannot read"),
    ):
        assert cli.main(["spirit", "pack", *arguments]) == code
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1
    folder(at)
    assert cli.main(["spirit", "pack", str(at), "-o", str(tmp_path / "no" / "x.spirit")]) == 1
    assert "cannot write" in capsys.readouterr().err
