"""Remakes setfit/ beside this file: classifiers of scikit-learn, as pickle and joblib write them, and what they answer.

pip install scikit-learn joblib
python tests/golden/make_setfit.py
"""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import joblib
import numpy as np
from sklearn.linear_model import LogisticRegression, RidgeClassifier

FOLDER = Path(__file__).parent / "setfit"
FEATURES = 96


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    random = np.random.RandomState(3)
    rows = random.standard_normal((40, FEATURES))
    found = {"rows": rows[:4].round(6).tolist()}
    for name, labels in (("two", [0, 1]), ("three", [0, 1, 2]), ("text", ["bad", "good", "so-so"])):
        made = LogisticRegression().fit(
            rows,
            np.array([labels[index % len(labels)] for index in range(40)], dtype=object if name == "text" else int),
        )
        (FOLDER / f"{name}.pkl").write_bytes(pickle.dumps(made))
        joblib.dump(made, FOLDER / f"{name}.joblib")
        found[name] = made.predict_proba(np.array(found["rows"])).tolist()
    joblib.dump(RidgeClassifier().fit(rows, np.arange(40) % 2), FOLDER / "ridge.joblib")
    (FOLDER / "answers.json").write_text(json.dumps(found) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
