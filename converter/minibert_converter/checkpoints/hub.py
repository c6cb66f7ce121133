"""Checkpoints by their names on the Hugging Face Hub: out of its cache, or fetched into it, what is needed alone."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from minibert.errors import CheckpointError, InputError, warn
from minibert_converter.checkpoints.folder import NEVER_READ
from minibert_converter.progress import OnProgress, no_progress

Found = TypeVar("Found")

#: ORG/NAME, or the NAME of one of the first models, which have no organisation.
NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
#: Any of these says that a folder is a checkpoint.
MARKS = ("config.json", "modules.json", "adapter_config.json")
#: Weights, in the order in which they are looked for, and what holds the same in other forms: of a folder that has the
#: first, the second is not fetched.
WEIGHTS = (
    (r"model\.safetensors", r"model[-.].+\.safetensors(\.index\.json)?|pytorch_model.*"),
    (r"model\.safetensors\.index\.json", r"model(?!-\d+-of-\d+).*\.safetensors|pytorch_model.*"),
    (r"pytorch_model\.bin", r"pytorch_model[-.](?!bin$).+"),
    (r"adapter_model\.safetensors", r"adapter_model\.bin"),
)
#: Files that hold weights of their folder.
_HELD = re.compile(r"(model|adapter_model)(-\d+-of-\d+)?\.safetensors|(pytorch|adapter)_model(-\d+-of-\d+)?\.bin")
#: Bytes of a file of a kind that is not known that are fetched, so that a conversion can say that it was not read.
UNKNOWN_BYTES = 16 << 20
_KNOWN = re.compile(r".*\.(safetensors|bin|json|model|txt|pt|pkl)")
#: Modules of sentence-transformers that may have no files.
_WITHOUT_FILES = ("Normalize", "Dropout")


def checkpoint_folder(source: str | Path, revision: str | None = None, progress: OnProgress = no_progress) -> Path:
    """The folder of a checkpoint that is named by its path, or by its name on the Hub.

    A path that exists is taken as it is. Else what looks like a name is looked up on the Hub (HF_ENDPOINT) by one
    request, and what its cache (HF_HUB_CACHE, HF_HOME) doesn't have is fetched; the token is HF_TOKEN or that of a
    login. Where the Hub doesn't answer, or HF_HUB_OFFLINE is set, the cache alone must do.

    Args:
        source: a folder, or a name such as "BAAI/bge-small-en-v1.5".
        revision: a branch, a tag or a commit of a name; None for its main branch.
        progress: told that files are fetched.

    Raises:
        CheckpointError: there is no such folder, model or revision, it may not be read, or not be fetched whole.
        InputError: a revision of a folder.
    """
    path, name = Path(source), os.fspath(source)
    if not os.path.lexists(path):
        if not NAME.fullmatch(name):
            raise CheckpointError(f"{name}: no such folder")
        # HTTP libraries take dots out of an address, and another revision would be fetched.
        if revision is not None and any(part in ("", ".", "..") for part in revision.split("/")):
            raise CheckpointError(
                f"{name}: {revision!r:.80} is no name of a revision, be it a branch, a tag or a commit"
            )
        return _Model(name, "main" if revision is None else revision).folder(progress)
    if revision is not None:
        raise InputError(
            f"{name}: is a folder here and not looked up on the Hub, so it has no revision {revision!r:.80}"
        )
    return path


def name_of(folder: Path) -> tuple[str, str] | None:
    """Name and commit of a folder in the Hub's cache, .../models--ORG--NAME/snapshots/COMMIT; None for any other."""
    place = folder.resolve()
    model = place.parent.parent.name
    if place.parent.name != "snapshots" or not model.startswith("models--"):
        return None
    return model.removeprefix("models--").replace("--", "/"), place.name


def needed(names: Iterable[str]) -> list[str]:
    """Of a model's files, paths with slashes, those that a conversion reads, or may have to speak of; by name."""
    folders: dict[str, list[str]] = {}
    for name in names:
        folder, _, file = name.rpartition("/")
        parts = [*(f"{part}/" for part in folder.split("/") if part), file]
        if not any(re.fullmatch(pattern, part) for part in parts for pattern in NEVER_READ):
            folders.setdefault(folder, []).append(file)
    found = []
    for folder, files in folders.items():
        others = next((others for kind, others in WEIGHTS if any(re.fullmatch(kind, file) for file in files)), "")
        found += [f"{folder}/{file}".removeprefix("/") for file in files if not re.fullmatch(others, file)]
    return sorted(found)


class _NoAnswerError(CheckpointError):
    """The Hub cannot be reached, is not well, or doesn't let one in: what is in the cache can still be used."""

    def __init__(self, name: str, why: str, fix: str) -> None:
        super().__init__(f"{name}: no such folder, and {why}: {fix}")
        self.why, self.fix = why, fix


class _Model:
    """A model of the Hub, at one revision."""

    def __init__(self, name: str, revision: str) -> None:
        import huggingface_hub  # here: half a second that only names need
        from huggingface_hub import constants, errors

        self.hub, self.errors, self.name, self.revision = huggingface_hub, errors, name, revision
        self.endpoint, self.cache, self.offline = constants.ENDPOINT, constants.HF_HUB_CACHE, constants.HF_HUB_OFFLINE

    def folder(self, progress: OnProgress) -> Path:
        """Its folder in the cache, with all that is needed in it."""
        try:
            if self.offline:
                why = f"HF_HUB_OFFLINE is set, and it is not in the Hub's cache, {self.cache}, at {self.revision}"
                raise _NoAnswerError(self.name, why, f"unset it once, or {self._elsewhere()}")
            info = self._asked(
                lambda: self.hub.HfApi().model_info(self.name, revision=self.revision, files_metadata=True)
            )
        except _NoAnswerError as error:
            folder = self._cached(error)
            if not self.offline:
                warn(f"{self.name}: {error.why}: taken as it is in the Hub's cache, {folder}", UserWarning)
            return folder
        return self._fetched(str(info.sha), {file.rfilename: file.size for file in info.siblings or ()}, progress)

    def _fetched(self, commit: str, sizes: Mapping[str, int | None], progress: OnProgress) -> Path:
        """The folder of a commit, once all its files are there."""
        files = needed(sizes)
        if not any(_HELD.fullmatch(file.rpartition("/")[2]) for file in files):
            raise CheckpointError(
                f"{self.name}: has no weights that can be read, neither model.safetensors nor pytorch_model.bin; there "
                f"are {', '.join(sorted(sizes)[:12]) or 'no files'}"
            )
        if large := [file for file in files if (sizes[file] or 0) > UNKNOWN_BYTES and not _KNOWN.fullmatch(file)]:
            warn(
                f"{self.name}: not fetched, as nothing that is known here asks for it: {', '.join(large)}", UserWarning
            )
        files = [file for file in files if file not in large]
        self._remember(commit)
        missing = {file: sizes[file] or 0 for file in files if self._in_cache(file, commit) is None}
        if missing:
            with self._counted(sum(missing.values()), progress) as came:
                for file, size in missing.items():
                    try:
                        self._asked(lambda file=file: self.hub.hf_hub_download(self.name, file, revision=commit))
                    except _NoAnswerError as error:
                        raise CheckpointError(
                            f"{self.name}: fetching stopped in {file} (what came is kept), as {error.why}: {error.fix}"
                        ) from error
                    came(size)
        path = self._in_cache(files[0], commit)
        if path is None:
            raise CheckpointError(f"{self.name}: {files[0]} was fetched, but is not in the Hub's cache, {self.cache}")
        return path.parents[files[0].count("/")]

    @contextmanager
    def _counted(self, size: int, progress: OnProgress) -> Iterator[Callable[[int], None]]:
        """Tells of megabytes that came, those of the file that is being written too; is told the size of each file."""
        from huggingface_hub.utils import disable_progress_bars

        disable_progress_bars()
        total, done, end = max(1, round(size / 1e6)), [0], threading.Event()
        stage = f"fetching {self.name} ({total} MB)"

        def watch() -> None:
            blobs = self._home() / "blobs"
            while not end.wait(0.2):
                with suppress(OSError):  # one that was whole meanwhile
                    partly = sum(path.stat().st_size for path in blobs.glob("*.incomplete"))
                    progress(stage, min(int((sum(done) + partly) / 1e6), total - 1), total)

        progress(stage, 0, total)
        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield done.append
        finally:
            end.set()
            watcher.join()
        progress(stage, total, total)

    def _home(self) -> Path:
        """The model's folder in the cache."""
        return Path(self.cache, f"models--{self.name.replace('/', '--')}")

    def _cached(self, error: _NoAnswerError) -> Path:
        """What the cache has, where nobody can be asked what it should have; raises `error` for nothing."""
        marks = [path for mark in MARKS if (path := self._in_cache(mark, self.revision)) is not None]
        if not marks:
            raise error
        folder = marks[0].parent
        if missing := _missing(folder):
            raise CheckpointError(
                f"{folder}: the Hub's cache has only a part of {self.name}, without {missing}: run the command again "
                f"without HF_HUB_OFFLINE where there is a network, or {self._elsewhere()}"
            ) from error
        return folder

    def _in_cache(self, file: str, revision: str) -> Path | None:
        """The path of a file in the cache."""
        found = self._asked(lambda: self.hub.try_to_load_from_cache(self.name, file, revision=revision))
        return Path(found) if isinstance(found, str) else None  # it may also be known that there is none

    def _remember(self, commit: str) -> None:
        """Has the cache know which commit a branch is at, as other programs do: for the day without a network."""
        if self.revision != commit and re.fullmatch(r"[\w.-]+(/[\w.-]+)*", self.revision) and ".." not in self.revision:
            reference = self._home() / "refs" / self.revision
            with suppress(OSError):  # a cache that cannot be written to has it all
                reference.parent.mkdir(parents=True, exist_ok=True)
                reference.write_text(commit, encoding="utf-8")

    def _elsewhere(self) -> str:
        """What else can be done."""
        return f"on another machine `hf download {self.name} --local-dir FOLDER`, and give that folder"

    def _asked(self, ask: Callable[[], Found]) -> Found:
        """An answer of the Hub, or of its cache; raises CheckpointError, with the fix, where there is none."""
        errors, name = self.errors, self.name
        try:
            return ask()
        except errors.HFValidationError:
            raise CheckpointError(
                f"{name}: no such folder, and no name of a model: that is ORG/NAME, of letters, digits, '-', '_' and "
                "'.', without '--' and '..'"
            ) from None
        except errors.RevisionNotFoundError:
            raise CheckpointError(
                f"{name}: has no revision {self.revision!r:.80}, be it a branch, a tag or a commit; see "
                f"{self.endpoint}/{name}/commits/main"
            ) from None
        except errors.GatedRepoError:
            why = f"{self.endpoint} has it for those alone who accepted its conditions (gated)"
            fix = f"do so at {self.endpoint}/{name}, then `hf auth login`, or set HF_TOKEN"
        except errors.RepositoryNotFoundError:
            why, fix = f"no such model at {self.endpoint}", "a private one needs `hf auth login`, or HF_TOKEN"
        except Exception as error:  # which ones, is up to the HTTP library, and that has changed
            status = getattr(getattr(error, "response", None), "status_code", None)
            if status is None and isinstance(error, OSError) and error.errno and error.filename:
                raise CheckpointError(
                    f"{error.filename}: {error.strerror}; name another cache of the Hub's by HF_HUB_CACHE"
                ) from error
            if status in (401, 403):
                why, fix = (
                    f"{self.endpoint} refuses it ({status})",
                    "`hf auth login`, or set HF_TOKEN to one that may read it",
                )
            else:
                what = f"answers {status}" if status else f"gives no answer ({' '.join(str(error).split())[:200]})"
                why, fix = f"{self.endpoint} {what}", f"run the same command again, or {self._elsewhere()}"
        raise _NoAnswerError(name, why, fix)


def _missing(folder: Path) -> str | None:
    """What a folder of the cache certainly lacks."""
    if not any(_HELD.fullmatch(path.name) and path.is_file() for path in folder.rglob("*")):
        return "weights"
    try:
        for index in folder.rglob("*.safetensors.index.json"):
            shards: Sequence[str] = sorted(set(_json(index)["weight_map"].values()))
            if lost := [shard for shard in shards if not (index.parent / shard).is_file()]:
                return lost[0]
        for module in _json(folder / "modules.json") if (folder / "modules.json").is_file() else ():
            config = Path(module["path"], "config.json")
            if not module["type"].endswith(_WITHOUT_FILES) and not (folder / config).is_file():
                return config.as_posix()
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None  # what reads the checkpoint says better what is wrong
    return None


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
