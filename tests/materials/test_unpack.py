"""An archive unpacks into its folder, or not at all."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from materials.errors import DamagedMaterial
from materials.unpack import unpack

ESCAPES = ["../outside.txt", "a/../../outside.txt", "/outside.txt", "..\\outside.txt", "C:/outside.txt"]


def make_zip(path: Path, name: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("good.txt", "good")
        archive.writestr(name, "text")
    return path


def make_tar(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for member in members:
            member.size = 4 if member.isreg() else 0
            archive.addfile(member, io.BytesIO(b"text"))
    return path


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


def outside(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.endswith("outside.txt")]


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "in" / "target"
    folder.mkdir(parents=True)
    return folder


def test_a_zip_and_a_tar_give_their_files(tmp_path: Path, target: Path) -> None:
    unpack(make_zip(tmp_path / "a.whl", "folder/z.txt"), target)
    unpack(make_tar(tmp_path / "a.tgz", entry("folder", tarfile.DIRTYPE), entry("folder/t.txt")), target)
    assert sorted(path.name for path in target.rglob("*.txt")) == ["good.txt", "t.txt", "z.txt"]
    assert (target / "folder" / "t.txt").read_text() == "text"


@pytest.mark.parametrize("name", ESCAPES)
def test_a_path_that_leaves_the_folder_is_refused(tmp_path: Path, target: Path, name: str) -> None:
    for archive in (make_zip(tmp_path / "a.zip", name), make_tar(tmp_path / "a.tar.gz", entry(name))):
        with pytest.raises(DamagedMaterial, match="outside.txt"):
            unpack(archive, target)
    assert not outside(tmp_path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_a_tar_member_that_is_no_file_is_refused(tmp_path: Path, target: Path, kind: bytes) -> None:
    archive = make_tar(tmp_path / "a.tar.gz", entry("way", kind, ".."), entry("way/outside.txt"))
    with pytest.raises(DamagedMaterial, match="way"):
        unpack(archive, target)
    assert not list(target.iterdir())


def test_a_link_in_a_zip_is_refused(tmp_path: Path, target: Path) -> None:
    link = zipfile.ZipInfo("way")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "..")
    with pytest.raises(DamagedMaterial, match="link"):
        unpack(tmp_path / "a.zip", target)
    assert not list(target.iterdir())


def test_a_broken_archive_is_named(tmp_path: Path, target: Path) -> None:
    whole = make_tar(tmp_path / "a.tar.gz", *[entry(f"{i}.txt") for i in range(50)]).read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "none.whl").write_bytes(b"no archive at all")
    for name in ("cut.tar.gz", "none.whl"):
        with pytest.raises(DamagedMaterial, match=name):
            unpack(tmp_path / name, target)


def make_deb(path: Path, *members: tuple[str, bytes]) -> Path:
    """An ar archive; its second member has an odd size, so that padding comes in."""
    content = b"!<arch>\n"
    for name, data in members:
        header = f"{name:16}{0:<12}{0:<6}{0:<6}{0:<8}{len(data):<10}`\n".encode()
        content += header + data + b"\n" * (len(data) % 2)
    path.write_bytes(content)
    return path


def test_a_debian_package_gives_its_files(tmp_path: Path, target: Path) -> None:
    data = make_tar(tmp_path / "data.tar.gz", entry("./usr/share/t.txt"), entry("./usr/link", tarfile.SYMTYPE, ".."))
    parts = ("debian-binary", b"2.0\n"), ("control.tar.gz", b"odd"), ("data.tar.gz", data.read_bytes())
    unpack(make_deb(tmp_path / "a.deb", *parts), target, only=("*.txt",))
    assert (target / "usr/share/t.txt").read_text() == "text"
    with pytest.raises(DamagedMaterial, match="link"):
        unpack(tmp_path / "a.deb", target)


def test_a_debian_package_without_files_is_named(tmp_path: Path, target: Path) -> None:
    whole = make_deb(tmp_path / "a.deb", ("debian-binary", b"2.0\n"))
    with pytest.raises(DamagedMaterial, match=r"a\.deb .* no data\.tar"):
        unpack(whole, target)


def test_only_what_is_asked_for_is_unpacked(tmp_path: Path, target: Path) -> None:
    tar = make_tar(
        tmp_path / "a.tar.gz", entry("a/good.txt"), entry("b/good.txt"), entry("a/link", tarfile.SYMTYPE, "..")
    )
    unpack(tar, target, only=("a/*.txt",))
    unpack(make_zip(tmp_path / "a.zip", "../outside.txt"), target, only=("good.*",))
    assert sorted(path.name for path in target.rglob("*.txt")) == ["good.txt", "good.txt"]
    assert not outside(tmp_path)
