import pytest

from daskgmm.storage.folder import Folder


@pytest.fixture(params=["disk", "memory", "s3"])
def folder(request, tmp_path):
    match request.param:
        case "disk":
            return Folder(tmp_path / "a" / "b")
        case "memory":
            return Folder(f"memory://{tmp_path}")
        case "s3":
            return Folder(f"s3://bucket{tmp_path}", **request.getfixturevalue("s3"))


def test_files_are_read_back(folder):
    assert folder.names() == []
    folder.write("two", b"2")
    folder.write("one", b"1")
    folder.write("two", b"22")
    assert folder.names() == ["one", "two"]
    assert (folder.read("one"), folder.read("two")) == (b"1", b"22")
    folder.remove("one")
    assert folder.names() == ["two"]
    with pytest.raises(FileNotFoundError):
        folder.read("one")


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    folder = Folder(tmp_path)
    folder.write("one", b"1")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        folder.write("one", b"2")
    assert [each.name for each in tmp_path.iterdir()] == ["one"]
    assert folder.read("one") == b"1"


def test_files_of_other_writers_are_listed(tmp_path):
    folder = Folder(tmp_path)
    assert not folder.names()
    (tmp_path / "new").write_bytes(b"")
    assert folder.names() == ["new"]
    assert str(folder) == str(tmp_path)


def test_only_an_empty_folder_is_removed(tmp_path):
    folder = Folder(tmp_path / "one")
    folder.remove_if_empty()
    folder.write("file", b"")
    folder.remove_if_empty()
    assert folder.names() == ["file"]
    folder.remove("file")
    folder.remove_if_empty()
    assert not (tmp_path / "one").exists()


def test_a_file_appears_when_it_is_complete(folder):
    with folder.writing("one") as file:
        file.write(b"1")
        file.write(b"2")
        assert "one" not in folder.names()
    assert (folder.names(), folder.read("one")) == (["one"], b"12")

    def fail():
        with folder.writing("one") as file:
            file.write(b"3")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (folder.names(), folder.read("one")) == (["one"], b"12")


def test_a_folder_replaces_another(folder):
    other = Folder(f"{folder.url}.other", **folder.options)
    other.write("theirs", b"0")
    for name in ("one", "two"):
        folder.write(name, name.encode())
    folder.move_to(other)
    assert not folder.exists()
    assert other.names() == ["one", "two"]
    with other.open("two") as file:
        assert file.read() == b"two"
    other.clear()
    other.clear()
    assert not other.exists()


def test_an_error_of_a_store_is_an_os_error(s3):
    folder = Folder("s3://absent/folder", **s3)
    with pytest.raises(OSError, match="bucket"), folder.writing("one"):
        pass
