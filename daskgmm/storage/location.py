"""Where rows are: on a disk, or wherever fsspec finds its way."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

import fsspec
import numpy as np
from dask.base import normalize_token
from dask.utils import natural_sort_key
from numpy.typing import NDArray

from daskgmm.errors import DataError

# What has to be installed for a scheme, if it is, comes with an extra of this name.
EXTRAS = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gs",
    "gcs": "gs",
    "az": "az",
    "abfs": "az",
    "abfss": "az",
    "adl": "az",
    "http": "http",
    "https": "http",
}

# Names of options that let somebody in, and of nothing else.
CREDENTIAL = re.compile("^key$|secret|token|passw|credential|account_key|access_key", re.IGNORECASE)

# Bytes that are read beyond what was asked for of formats that are read in many small parts.
READ_AHEAD = 1 << 20

# What stores and disks say of a file that is another when the file is.
TELLING = (
    "size",
    "mtime",
    "created",
    "ETag",
    "etag",
    "LastModified",
    "last_modified",
    "generation",
)


@dataclass(frozen=True)
class Location:
    """A file or a folder, and what is meant inside of it.

    Attributes
    ----------
    url : str
        A whole path, or a URL that fsspec knows.
    inside : str
        Of a file with several arrays, the name of one: what comes after ``::``.
    options : mapping
        fsspec's ``storage_options``, which travel to the workers and are never printed.
    """

    url: str
    inside: str = ""
    options: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)

    @classmethod
    def of(cls, url: str | Path, options: Mapping[str, Any]) -> "Location":
        """The place that a path or a URL means."""
        name, separator, inside = str(url).rpartition("::")
        if not separator or "://" in inside:
            name, inside = str(url), ""
        if urlsplit(name).scheme == "file" or "://" not in name:
            name = str(local_path(name).absolute())  # workers may have another directory
        return cls(name, inside.strip("/"), options)

    def __str__(self) -> str:
        return f"{self.url}::{self.inside}" if self.inside else self.url

    def __dask_tokenize__(self) -> Any:
        # Keys to a store come and go; what they lead to stays what it is.
        return normalize_token((self.url, self.inside, _without_credentials(self.options)))

    def __truediv__(self, name: str) -> "Location":
        return replace(self, url=f"{self.url.rstrip('/')}/{name}")

    @property
    def is_local(self) -> bool:
        """Whether it is a path of this machine."""
        return "://" not in self.url

    @property
    def path(self) -> PurePosixPath:
        """What of it has endings and parents."""
        return PurePosixPath(self.url if self.is_local else urlsplit(self.url).path)

    def found(self) -> dict[str, Any] | None:
        """What is known of the file or folder; None where there is none.

        Raises DataError where nobody can say.
        """
        try:
            return self._info()
        except DataError as error:
            if isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
                return None
            raise

    def version(self) -> str:
        """What is another when the file is; DataError where there is nothing."""
        known = self._info()
        return "-".join(str(known[key]) for key in TELLING if key in known)

    def each(self, ending: str | None) -> list["Location"]:
        """The files that are meant, in natural order: part.2 before part.10, as Dask writes.

        What a pattern finds; of a folder, its files of an ending, if one is named; else itself.
        Raises DataError where there is none.
        """
        places = [self]
        if any(sign in self.url for sign in "*[?") and self._is_pattern():
            with refusals(self.url):
                files, path = self._files()
                places = self._at(files, files.glob(path))
        if not places:
            raise DataError(f"no file is like {self.url}")
        if ending is None:
            return places
        return [found for place in places for found in place._in_folder(ending)]

    def open(self, ahead: int = 0) -> BinaryIO:
        """The file, to be read in parts: each is one request, of so many bytes more than asked."""
        if self.is_local:
            return Path(self.url).open("rb")
        files, path = self._files()
        cached = (
            {"cache_type": "readahead", "block_size": ahead} if ahead else {"cache_type": "none"}
        )
        opened: BinaryIO = files.open(path, "rb", **cached)
        return opened

    def values(self, dtype: np.dtype[Any], count: int, start: int) -> NDArray[Any]:
        """So many values that begin at a byte; EOFError where there are fewer."""
        if self.is_local:
            values = np.fromfile(self.url, dtype, count, offset=start)
        else:
            files, path = self._files()
            n_bytes = count * dtype.itemsize
            content = bytearray(files.cat_file(path, start=start, end=start + n_bytes))
            if len(content) > n_bytes:
                raise OSError("its server gives whole files only, not parts of them")
            values = np.frombuffer(content, dtype, len(content) // dtype.itemsize)
        if len(values) < count:
            raise EOFError(f"{count - len(values)} values are missing at the end")
        return values

    def _info(self) -> dict[str, Any]:
        with refusals(self.url):
            files, path = self._files()
            known: dict[str, Any] = files.info(path)
            return known

    def _files(self) -> tuple[Any, str]:
        files, path = fsspec.url_to_fs(self.url, use_listings_cache=False, **self.options)
        return files, path

    def _is_pattern(self) -> bool:
        # A disk's names may hold these signs; of a web address they are the question.
        return not Path(self.url).exists() if self.is_local else EXTRAS.get(self._scheme) != "http"

    @property
    def _scheme(self) -> str:
        return urlsplit(self.url).scheme

    def inside_folder(self) -> list["Location"] | None:
        """The files in it and below, in natural order; None where it is no folder.

        Not those that are hidden, as copies and marks of other programs are.
        """
        known = self.found()
        if known is None or known["type"] != "directory":
            return None
        with refusals(self.url):
            files, path = self._files()
            found = [each for each in files.find(path) if not _is_hidden(each[len(path) :])]
            return self._at(files, found)

    def _in_folder(self, ending: str) -> list["Location"]:
        if (inside := self.inside_folder()) is None:
            return [self]  # whoever opens it says that it isn't there
        places = [place for place in inside if place.path.suffix == ending]
        if not places:
            raise DataError(f"there is no {ending} file in the directory {self.url}")
        return places

    def _at(self, files: Any, paths: list[str]) -> list["Location"]:
        names = [path if self.is_local else files.unstrip_protocol(path) for path in paths]
        return [replace(self, url=name) for name in sorted(names, key=natural_sort_key)]


def _is_hidden(path: str) -> bool:
    """Whether a name in a path begins as Hadoop and Arrow have it of what is no data."""
    return any(name.startswith((".", "_")) for name in path.split("/"))


def _without_credentials(options: Any) -> Any:
    """fsspec's options without the keys to a store."""
    if not isinstance(options, Mapping):
        return options
    return {
        name: _without_credentials(value)
        for name, value in options.items()
        if not CREDENTIAL.search(str(name))
    }


@contextmanager
def refusals(url: str) -> Iterator[None]:
    """Whatever a store or a disk raises is a DataError, one sentence, while the context lasts."""
    scheme = urlsplit(url).scheme
    try:
        yield
    except ImportError as error:
        raise DataError(f"{url}: {needs(f'{scheme}://', EXTRAS.get(scheme))}") from error
    except (FileNotFoundError, NotADirectoryError) as error:
        why = error.__cause__ if EXTRAS.get(scheme) == "http" else error.strerror or error
        said = "" if why is None or str(why) in url else f" ({why})"
        raise DataError(f"there is no file or directory at {url}{said}") from error
    except PermissionError as error:
        raise DataError(
            f"{url}: access is refused ({reason(error)}): look at source.storage_options, or the "
            "credentials of this machine"
        ) from error
    except ValueError as error:
        known = scheme in fsspec.available_protocols()
        said = f"cannot be reached: {reason(error)}" if known else f"unknown scheme {scheme!r}"
        raise DataError(f"{url}: {said}") from error
    except Exception as error:  # libraries of stores raise what they like
        raise DataError(f"{url} cannot be reached: {reason(error)}") from error


def needs(what: str, extra: str | None) -> str:
    """A sentence for somebody who has not installed what it takes."""
    if extra is None:
        return f"{what} needs a library that is not installed"
    return f"{what} needs a library that is not installed: pip install 'daskgmm[{extra}]'"


def reason(error: BaseException) -> str:
    """What an exception says, on one line."""
    text = " ".join(str(error).split())
    if isinstance(error, DataError | OSError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def local_path(url: str) -> Path:
    """The path that a path or ``file://`` URL means; DataError for any other URL."""
    scheme, separator, _ = url.partition("://")
    if not separator:
        return Path(url)
    if scheme != "file":
        raise DataError(
            f"{url}: unknown scheme {scheme!r} to write to; this version of daskgmm writes to "
            "local paths and file:// URLs"
        )
    return Path(unquote(urlsplit(url).path))
