"""Locations of files and folders, on a disk or in any store that fsspec knows."""

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

# Extras of this package that install the library of a scheme.
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

# Names of options that hold credentials.
CREDENTIAL = re.compile("^key$|secret|token|passw|credential|account_key|access_key", re.IGNORECASE)

# Bytes to read ahead, for formats that are read in many small parts.
READ_AHEAD = 1 << 20

# Entries of a file's info that change when the file is written again.
VERSION_KEYS = (
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
    """A file or a folder, or one array inside a file.

    Attributes
    ----------
    url : str
        An absolute path, or a URL that fsspec knows.
    member : str
        Name of an array inside the file, after ``::``.
    options : mapping
        fsspec's ``storage_options``, which are sent to the workers and never printed.
    """

    url: str
    member: str = ""
    options: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)

    @classmethod
    def of(cls, url: str | Path, options: Mapping[str, Any]) -> "Location":
        """Parse a path or a URL."""
        name, separator, member = str(url).rpartition("::")
        if not separator or "://" in member:
            name, member = str(url), ""
        if urlsplit(name).scheme == "file" or "://" not in name:
            name = str(local_path(name).absolute())  # workers may have another directory
        return cls(name, member.strip("/"), options)

    def __str__(self) -> str:
        return f"{self.url}::{self.member}" if self.member else self.url

    def __dask_tokenize__(self) -> Any:
        # Leave out credentials: they may change although the data is the same.
        return normalize_token((self.url, self.member, _without_credentials(self.options)))

    def __truediv__(self, name: str) -> "Location":
        return replace(self, url=f"{self.url.rstrip('/')}/{name}")

    @property
    def is_local(self) -> bool:
        """Whether it is a path of this machine."""
        return "://" not in self.url

    @property
    def path(self) -> PurePosixPath:
        """The path, with suffixes and parents."""
        return PurePosixPath(self.url if self.is_local else urlsplit(self.url).path)

    def info(self) -> dict[str, Any] | None:
        """fsspec's info about the file or folder; None if it does not exist.

        Raises DataError if the store cannot be reached.
        """
        try:
            return self._info()
        except DataError as error:
            if isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
                return None
            raise

    def version(self) -> str:
        """A string that differs after the file was written again; DataError if it is absent."""
        info = self._info()
        return "-".join(str(info[key]) for key in VERSION_KEYS if key in info)

    def files(self, ending: str | None) -> list["Location"]:
        """List the files of a path, a pattern or a folder, in natural order.

        Natural order puts part.2 before part.10, as Dask writes them.

        Parameters
        ----------
        ending : str or None
            Ending of the files to list in a folder; None to list the folder itself.

        Raises
        ------
        DataError
            If there is no file.
        """
        locations = [self]
        if any(sign in self.url for sign in "*[?") and self._is_pattern():
            with explain_errors(self.url):
                filesystem, path = self._filesystem()
                locations = self._sorted(filesystem, filesystem.glob(path))
        if not locations:
            raise DataError(f"no file matches {self.url}")
        if ending is None:
            return locations
        return [file for location in locations for file in location._with_ending(ending)]

    def open(self, ahead: int = 0) -> BinaryIO:
        """Open the file. A read from a store is one request, which fetches `ahead` more bytes."""
        if self.is_local:
            return Path(self.url).open("rb")
        filesystem, path = self._filesystem()
        cache = (
            {"cache_type": "readahead", "block_size": ahead} if ahead else {"cache_type": "none"}
        )
        stream: BinaryIO = filesystem.open(path, "rb", **cache)
        return stream

    def values(self, dtype: np.dtype[Any], count: int, start: int) -> NDArray[Any]:
        """Read `count` values from byte `start`; EOFError if the file ends before."""
        if self.is_local:
            values = np.fromfile(self.url, dtype, count, offset=start)
        else:
            filesystem, path = self._filesystem()
            n_bytes = count * dtype.itemsize
            content = bytearray(filesystem.cat_file(path, start=start, end=start + n_bytes))
            if len(content) > n_bytes:
                raise OSError("the server sends whole files only, not parts of them")
            values = np.frombuffer(content, dtype, len(content) // dtype.itemsize)
        if len(values) < count:
            raise EOFError(f"{count - len(values)} values are missing at the end")
        return values

    def files_below(self) -> list["Location"] | None:
        """List the files in a folder and its subfolders, in natural order; None for a file.

        Hidden files are left out, because they hold copies and markers of other programs.
        """
        info = self.info()
        if info is None or info["type"] != "directory":
            return None
        with explain_errors(self.url):
            filesystem, path = self._filesystem()
            files = [file for file in filesystem.find(path) if not _is_hidden(file[len(path) :])]
            return self._sorted(filesystem, files)

    def _info(self) -> dict[str, Any]:
        with explain_errors(self.url):
            filesystem, path = self._filesystem()
            info: dict[str, Any] = filesystem.info(path)
            return info

    def _filesystem(self) -> tuple[Any, str]:
        filesystem, path = fsspec.url_to_fs(self.url, use_listings_cache=False, **self.options)
        return filesystem, path

    def _is_pattern(self) -> bool:
        # These signs may be part of a file's name, and "?" starts the query of a web address.
        return not Path(self.url).exists() if self.is_local else EXTRAS.get(self._scheme) != "http"

    @property
    def _scheme(self) -> str:
        return urlsplit(self.url).scheme

    def _with_ending(self, ending: str) -> list["Location"]:
        if (files := self.files_below()) is None:
            return [self]  # if it does not exist, the opener of the format raises an error
        matches = [file for file in files if file.path.suffix == ending]
        if not matches:
            raise DataError(f"there is no {ending} file in the folder {self.url}")
        return matches

    def _sorted(self, filesystem: Any, paths: list[str]) -> list["Location"]:
        urls = [path if self.is_local else filesystem.unstrip_protocol(path) for path in paths]
        return [replace(self, url=url) for url in sorted(urls, key=natural_sort_key)]


def _is_hidden(path: str) -> bool:
    """Whether a path is hidden by the convention of Hadoop and Arrow, so that it holds no data."""
    return any(name.startswith((".", "_")) for name in path.split("/"))


def _without_credentials(options: Any) -> Any:
    """fsspec's options without the credentials of a store."""
    if not isinstance(options, Mapping):
        return options
    return {
        name: _without_credentials(value)
        for name, value in options.items()
        if not CREDENTIAL.search(str(name))
    }


@contextmanager
def explain_errors(url: str) -> Iterator[None]:
    """Turn any exception of a store or a disk into a DataError."""
    scheme = urlsplit(url).scheme
    try:
        yield
    except ImportError as error:
        raise DataError(f"{url}: {install_hint(f'{scheme}://', EXTRAS.get(scheme))}") from error
    except (FileNotFoundError, NotADirectoryError) as error:
        cause = error.__cause__ if EXTRAS.get(scheme) == "http" else error.strerror or error
        detail = "" if cause is None or str(cause) in url else f" ({cause})"
        raise DataError(f"there is no file or directory at {url}{detail}") from error
    except PermissionError as error:
        raise DataError(
            f"{url}: access is denied ({reason(error)}): check source.storage_options, or the "
            "credentials of this machine"
        ) from error
    except ValueError as error:
        is_supported = scheme in fsspec.available_protocols()
        detail = (
            f"cannot be reached: {reason(error)}" if is_supported else f"unknown scheme {scheme!r}"
        )
        raise DataError(f"{url}: {detail}") from error
    except Exception as error:  # store libraries raise many types
        raise DataError(f"{url} cannot be reached: {reason(error)}") from error


def install_hint(what: str, extra: str | None) -> str:
    """A sentence that says which extra to install for a format or scheme."""
    if extra is None:
        return f"{what} needs a library that is not installed"
    return f"{what} needs a library that is not installed: pip install 'daskgmm[{extra}]'"


def reason(error: BaseException) -> str:
    """The message of an exception on one line."""
    text = " ".join(str(error).split())
    if isinstance(error, DataError | OSError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def local_path(url: str) -> Path:
    """Path of a local path or a ``file://`` URL; DataError for any other URL."""
    scheme, separator, _ = url.partition("://")
    if not separator:
        return Path(url)
    if scheme != "file":
        raise DataError(
            f"{url}: unknown scheme {scheme!r} for writing: use a local path or a file:// URL"
        )
    return Path(unquote(urlsplit(url).path))
