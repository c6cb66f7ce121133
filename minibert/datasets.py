"""Files of examples: tables (.tsv, .csv, .jsonl), CoNLL and SQuAD's JSON, also with .gz behind."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from minibert.errors import InputError

#: Columns of a table, or keys of a JSON line, that are taken for the text where none is named: the first that is there.
TEXT_COLUMNS = ("text", "sentence", "sentence1", "question", "query")
#: Those that are taken for the second text of a pair.
PAIR_COLUMNS = ("text_pair", "sentence2", "context", "passage")
#: Those that are taken for labels or scores.
LABEL_COLUMNS = ("label", "labels", "score", "coarse")


def guessed_column(path: str | Path, kind: str, known: Sequence[str], header: Sequence[str]) -> str:
    """The first of some usual names that a table has as a column.

    Raises:
        InputError: it has none of them; names the option `--kind` and the columns that there are.
    """
    found = next((name for name in known if name in header), None)
    if found is None:
        option = f"--{kind.replace('_', '-')} COL"
        raise InputError(
            f"{path}: none of its columns is called {' or '.join(known)}: name one by {option}; there are: "
            f"{', '.join(header)}"
        )
    return found


def listed(text: str) -> list[str]:
    """Texts between commas, such as labels; one that has a comma itself stands between quotes, as in a .csv file."""
    parts = next(csv.reader([" ".join(text.splitlines())], skipinitialspace=True), [])
    return [part.strip() for part in parts if part.strip()]


def _joined(parts: Sequence[str]) -> str:
    """What `listed` makes parts of again."""
    quoted = (part.replace('"', '""') for part in parts)
    return ",".join(f'"{part}"' if set(part) & set(',"') else part for part in quoted)


def read_columns(path: str | Path, columns: Sequence[str]) -> list[tuple[str, ...]]:
    """Some columns of a table, as text.

    A .tsv file has a header line and no quoting; a .csv file has a header line and is quoted as spreadsheets do; a
    .jsonl file has one object a line.

    Raises:
        InputError: no such kind of file or column, or a line that doesn't fit; names file and line.
        OSError: the file cannot be read.
    """
    rows = []
    for line, row in read_rows(Path(path)):
        missing = next((column for column in columns if column not in row), None)
        if missing is not None:
            raise InputError(f"{path}, line {line}: no column {missing!r}; there are: {', '.join(row)}")
        rows.append(tuple(_text(row[column], f"{path}, line {line}: column {column!r}") for column in columns))
    if not rows:
        raise InputError(f"{path}: holds no examples")
    return rows


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The number and the columns of each line of a table, one after another: see `read_columns`.

    Raises:
        InputError: no such kind of file, or a line that doesn't fit; names file and line.
        OSError: the file cannot be read.
    """
    kind = kind_of(path)
    if kind not in _READERS:
        raise InputError(f"{path}: must be a {', '.join(_READERS)} file, or one of these with .gz behind")
    try:
        with open_text(path) as file:
            yield from _READERS[kind](file, path)
    except _DAMAGED as error:
        raise _unreadable(path, error) from None


def read_header(path: str | Path) -> list[str]:
    """Names of the columns of a table, as its first line has them.

    Raises:
        InputError: no such kind of file, or it holds no examples.
        OSError: the file cannot be read.
    """
    for _, row in read_rows(Path(path)):
        return list(row)
    raise InputError(f"{path}: holds no examples")


def read_conll(path: str | Path) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Words and tags of each sentence of a CoNLL file.

    A line is a word and its tag, first and last of the columns (between tabs or, where a line has none, spaces); an
    empty line ends a sentence.

    Raises:
        InputError: a line without a tag, or no sentences; names file and line.
        OSError: the file cannot be read.
    """
    path = Path(path)
    sentences: list[tuple[tuple[str, ...], tuple[str, ...]]] = []
    words: list[tuple[str, str]] = []

    def end() -> None:
        if words:
            sentences.append((tuple(word for word, _ in words), tuple(tag for _, tag in words)))
            words.clear()

    try:
        with open_text(path) as file:
            for line, content in enumerate(file, 1):
                content = content.rstrip("\r\n")
                if not content.strip() or content.startswith("-DOCSTART-"):
                    end()
                    continue
                columns = content.split("\t") if "\t" in content else content.split()
                if len(columns) < 2 or not columns[0] or not columns[-1]:
                    raise InputError(f"{path}, line {line}: must be a word and its tag")
                words.append((columns[0], columns[-1]))
    except _DAMAGED as error:
        raise _unreadable(path, error) from None
    end()
    if not sentences:
        raise InputError(f"{path}: holds no sentences")
    return sentences


def read_questions(path: str | Path) -> list[tuple[str, str, tuple[str, ...]]]:
    """Question, context and right answers of each question, from SQuAD's JSON or from a .jsonl file.

    A line of the latter has "question", "context" and "answers", these as `{"text": [...]}` or as a list of texts;
    none where the context has no answer.

    Raises:
        InputError: the file is not of that form, or holds no questions; names file and line.
        OSError: the file cannot be read.
    """
    path = Path(path)
    lines = kind_of(path) == ".jsonl"
    try:
        with open_text(path) as file:
            rows = list(_flat_questions(file, path) if lines else _squad(json.load(file)))
    except InputError:
        raise
    except _DAMAGED as error:
        raise _unreadable(path, error) from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is no file of questions in SQuAD's JSON: {error!r}") from None
    if not rows:
        raise InputError(f"{path}: holds no questions")
    return rows


def _squad(value: Any) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    for article in value["data"]:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                yield question["question"], paragraph["context"], tuple(each["text"] for each in question["answers"])


def _flat_questions(file: TextIO, path: Path) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    for line, row in _jsonl(file, path):
        answers = row.get("answers")
        if isinstance(answers, dict):
            answers = answers.get("text")
        texts = [row.get("question"), row.get("context"), *(answers if isinstance(answers, list) else [None])]
        if not all(isinstance(text, str) for text in texts):
            raise InputError(f'{path}, line {line}: must have "question", "context" and "answers", a list of texts')
        yield texts[0], texts[1], tuple(texts[2:])


def json_lines(file: TextIO, path: Path) -> Iterator[tuple[int, Any]]:
    """The number and the value of each line that isn't blank; raises InputError for one that is no JSON."""
    for line, content in enumerate(file, 1):
        if content.strip():
            try:
                value = json.loads(content)
            except (ValueError, RecursionError) as error:
                raise InputError(f"{path}, line {line}: not JSON: {error}") from None
            yield line, value


def kind_of(path: Path) -> str:
    """What a file ends in, without .gz."""
    return path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix


def open_text(path: Path) -> TextIO:
    """The file as text, unpacked if its name ends in .gz.

    Raises:
        InputError: it is UTF-16 or UTF-32.
        OSError: it cannot be opened.
    """
    file = _open(path)
    try:
        refuse_utf_16(file.peek(4)[:4], path)
    except BaseException:
        file.close()
        raise
    # newline="": a field may hold "\r", and the csv module wants to see the line ends.
    return io.TextIOWrapper(file, encoding="utf-8-sig", newline="")


def refuse_utf_16(start: bytes, name: str | Path) -> None:
    """Raise InputError if a text that starts so is UTF-16 or UTF-32, by its mark (as Windows has it) or zero bytes."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in start:
        raise InputError(f"{name}: is no UTF-8 but UTF-16 or the like; convert it first: iconv -f UTF-16 -t UTF-8")


def _open(path: Path) -> Any:
    """The file's bytes, unpacked, as a stream that can `peek`."""
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


def _unreadable(path: Path, error: Exception) -> InputError:
    """What is wrong with a file; the line, if one is no UTF-8."""
    if isinstance(error, UnicodeDecodeError) and path.is_file():
        with _open(path) as file:
            for number, line in enumerate(file, 1):
                try:
                    line.decode("utf-8")
                except UnicodeDecodeError as wrong:
                    return InputError(f"{path}, line {number}: is no UTF-8: {wrong}")
    return InputError(f"{path}: cannot be read: {error}")


def _tsv(file: TextIO, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    header: list[str] | None = None
    for line, content in enumerate(file, 1):
        fields = content.rstrip("\r\n").split("\t")
        if header is None:
            header = fields
        elif len(fields) != len(header):
            raise InputError(f"{path}, line {line}: {len(fields)} fields, the header has {len(header)}")
        else:
            yield line, dict(zip(header, fields, strict=True))


def _csv(file: TextIO, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(file, strict=True)
    try:
        for row in reader:
            if None in row or None in row.values():
                count = len(reader.fieldnames or ())
                raise InputError(f"{path}, line {reader.line_num}: not {count} fields, as the header has")
            yield reader.line_num, row
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: {error}") from None


def _jsonl(file: TextIO, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, row in json_lines(file, path):
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {line}: must be an object, not {type(row).__name__}")
        yield line, row


_READERS = {".tsv": _tsv, ".csv": _csv, ".jsonl": _jsonl}


#: What reading raises where a file is cut off, damaged, or of another encoding.
_DAMAGED = (UnicodeDecodeError, EOFError, gzip.BadGzipFile, zlib.error)


def _text(value: Any, where: str) -> str:
    """A JSON value as a .tsv file would hold it; several labels as one field. InputError for null and NaN."""
    if isinstance(value, list):
        return _joined([_text(each, where) for each in value])
    if value is None or value != value or isinstance(value, dict):
        raise InputError(f"{where} must be a text, got {json.dumps(value)}: leave such lines out")
    return value if isinstance(value, str) else json.dumps(value)
