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
