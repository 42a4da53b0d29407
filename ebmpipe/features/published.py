"""Weights that others have published: where they are looked for, and how they are verified or come from the network. Needs no torch."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from ebmpipe.data.fetching import UnusableRawData, default_raw_folder, fetch_to, first_writable, ours
from ebmpipe.files import sha256

#: Names the folder in which the user keeps published weights.
VARIABLE = "EBMPIPE_WEIGHTS_DIR"


class UnusableWeights(ValueError):
    """Raised when published weights are missing or not the published ones; the message says what to do."""


def weight_folders(folder: Path | None = None) -> list[Path]:
    """The folders to look for weights in: the user's (by default that of `EBMPIPE_WEIGHTS_DIR`), then that of our downloads."""
    named = folder or (Path(value) if (value := os.environ.get(VARIABLE)) else None)
    return list(dict.fromkeys(one for one in (named, default_raw_folder() / "weights") if one is not None))


@dataclass(frozen=True)
class Published:
    """A file of weights that others have published.

    Attributes:
        network: id of the network.
        file: its name.
        sha256: its checksum.
        size: its size in MB, for messages.
        urls: mirrors.
    """

    network: str
    file: str
    sha256: str
    size: int
    urls: tuple[str, ...]

    def path(self, folder: Path | None = None) -> Path | None:
        """Where the file lies, whatever is in it; None if it is nowhere."""
        return next((one / self.file for one in weight_folders(folder) if (one / self.file).is_file()), None)

    def missing(self, folder: Path | None = None) -> str | None:
        """Why there is no such file, with the remedy; None if there is."""
        if self.path(folder) is not None:
            return None
        places = ", ".join(map(str, weight_folders(folder)))
        remedy = f"`ebmpipe features --dataset D --network {self.network} --download` fetches it ({self.size} MB)"
        return f"{self.file} is in none of {places}; {VARIABLE} names the folder that has it, or {remedy}"

    def content(self, folder: Path | None = None) -> bytes:
        """The bytes of the file, which are the published ones.

        Raises:
            UnusableWeights: if there is none, or its checksum is another.
        """
        path = self.path(folder)
        if path is None:
            raise UnusableWeights(f"{self.network} is not available: {self.missing(folder)}")
        content = path.read_bytes()
        try:
            self._require(hashlib.sha256(content).hexdigest(), str(path))
        except UnusableRawData as error:
            raise UnusableWeights(f"{error}; {self._remedy(path)}") from error
        return content

    def download(self, folder: Path | None = None) -> Path:
        """Bring the file into the first of `weight_folders` that can be written, if no sound one is in any; returns where it is.

        A damaged file among our own downloads is replaced, one in the user's folder is refused.

        Raises:
            UnusableWeights: if it cannot be had; the message says what to do by hand.
            Unwritable: if the disk does not take it.
        """
        choices, there = weight_folders(folder), self.path(folder)
        try:
            if there is not None:
                try:
                    self._check(there, str(there))
                    return there
                except UnusableRawData as error:
                    if not ours(there):
                        raise UnusableRawData(f"{error}; {self._remedy(there)}") from error
            advice = f"name one by {VARIABLE}"
            return fetch_to(self.urls, choices[0] / self.file, lambda: first_writable(choices, advice), self._check, self.network)
        except UnusableRawData as error:
            raise UnusableWeights(str(error)) from error

    def _check(self, path: Path, source: str) -> None:
        try:
            self._require(sha256(path), source)
        except OSError as error:
            raise UnusableRawData(f"{source} cannot be read ({error})") from error

    def _require(self, found: str, source: str) -> None:
        if found != self.sha256:
            raise UnusableRawData(f"{source} is not the published file: its SHA-256 is {found}, not {self.sha256}")

    def _remedy(self, path: Path) -> str:
        if ours(path):
            return f"`ebmpipe features --dataset D --network {self.network} --download` replaces it"
        return "it is left as it is: replace it, or remove it to have it downloaded"
