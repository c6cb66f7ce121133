"""Find notes by what they mean, in a window; `pyinstaller` makes a program of it that needs no Python.

    python notes.py notes.txt ideas.md

A note is a paragraph of a text file. What is nearest to what you type stands first; Enter, or a double click, copies it
to the clipboard, and prints it; Escape ends. Without files the window asks for some. It is Tk because that comes with
Python, and nothing has to be installed for it.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import minibert

#: Notes that are shown, and read at a time: between two times the window answers.
SHOWN, AT_ONCE = 20, 16
#: What --self-test reads, asks and expects.
SAMPLE = ["Refunds take five days.", "The museum is closed on Mondays.", "Water the tomatoes in the evening."]
QUESTION, EXPECTED = "when do i get my money back", SAMPLE[0]


def paragraphs(path: str | Path) -> list[str]:
    """The notes of a file."""
    text = Path(path).read_text(encoding="utf-8", errors="replace")
    return [note.strip() for note in re.split(r"\n\s*\n", text) if note.strip()]


class Notes:
    """Texts, of which those that were read already can be found."""

    def __init__(self, model: Any, texts: list[str]) -> None:
        self._model, self._texts, self._vectors = model, texts, []

    def read_some(self) -> bool:
        """Read a few more; whether there are any left."""
        start = len(self._vectors)
        self._vectors += list(self._model.encode(self._texts[start : start + AT_ONCE], normalize_embeddings=True))
        return len(self._vectors) < len(self._texts)

    def nearest(self, question: str) -> list[str]:
        """The nearest notes first; without a question all as they stand."""
        if not question.strip() or not self._vectors:
            return self._texts[:SHOWN]
        scores = self._model.similarity(self._model.encode(question), self._vectors)[0]
        return [self._texts[place] for place in scores.argsort()[::-1][:SHOWN]]


class Window:
    """A line to type in, and the notes below."""

    def __init__(self, tk: Any, model: Any, files: list[str]) -> None:
        self._root = tk.Tk()
        self._root.title("Notes")
        if not files:
            from tkinter import filedialog

            files = list(filedialog.askopenfilenames(parent=self._root, title="Files of notes"))
        self._notes = Notes(model, [note for file in files for note in paragraphs(file)])
        self._line = tk.Entry(self._root, font=("", 14))
        self._line.pack(fill="x", padx=8, pady=8)
        self._line.bind("<KeyRelease>", lambda _event: self._show())
        self._list = tk.Listbox(self._root, width=90, height=SHOWN, activestyle="none", exportselection=False)
        self._list.pack(fill="both", expand=True, padx=8, pady=(0, 8))
        for name in ("<Return>", "<Double-Button-1>"):
            self._root.bind(name, lambda _event: self._take())
        self._root.bind("<Escape>", lambda _event: self._root.destroy())
        self._found: list[str] = []
        self._asked: str | None = None
        self._line.focus_force()
        self._read()

    def run(self) -> None:
        """Until it is closed."""
        self._root.mainloop()

    def _read(self) -> None:
        more = self._notes.read_some()
        self._asked = None
        self._show()
        if more:
            self._root.after(1, self._read)

    def _show(self) -> None:
        if self._asked == self._line.get():  # an arrow key
            return
        self._asked = self._line.get()
        self._found = self._notes.nearest(self._asked)
        self._list.delete(0, "end")
        self._list.insert("end", *(" ".join(note.split()) for note in self._found))
        self._list.selection_set(0)

    def _take(self) -> None:
        self._show()  # a key may be on its way still
        chosen = self._list.curselection()
        if chosen:
            note = self._found[chosen[0]]
            self._root.clipboard_clear()
            self._root.clipboard_append(note)
            if sys.stdout:  # a program of Windows has none
                print(note, flush=True)


def self_test(tk: Any, model: Any) -> bool:
    """Without a window: Tcl is there, and the model finds a note."""
    notes = Notes(model, SAMPLE)
    notes.read_some()
    found = notes.nearest(QUESTION)[0]
    tcl = tk.Tcl().eval("info patchlevel")
    print(json.dumps({"found": found, "backend": model.engine.backend, "tcl": tcl}), flush=True)
    return found == EXPECTED


def main() -> int:
    """Open the window."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", help="text files of notes")
    parser.add_argument("--model", default="minilm", help="a model of sentence vectors (default: minilm)")
    parser.add_argument("--self-test", action="store_true", help="say whether all parts are there; opens no window")
    arguments = parser.parse_args()
    try:
        import tkinter as tk
    except ImportError:
        sys.exit("notes.py: this Python has no Tk: apt install python3-tk, or Python of python.org")
    model = minibert.load(arguments.model)
    if arguments.self_test:
        return 0 if self_test(tk, model) else 1
    try:
        Window(tk, model, arguments.files).run()
    except tk.TclError as error:
        sys.exit(f"notes.py: {error}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except (minibert.MinibertError, OSError) as error:
        sys.exit(f"notes.py: {error}")
