"""The table by class as scikit-learn prints it, and the confusion matrix."""

import numpy as np
import pytest

from nanocnn.metrics import classification_report, confusion_matrix

TRUE, GUESSED = [0, 1, 2, 2, 2], [0, 0, 2, 2, 1]
STORED = """\
              precision    recall  f1-score   support

     class 0       0.50      1.00      0.67         1
     class 1       0.00      0.00      0.00         1
     class 2       1.00      0.67      0.80         3

    accuracy                           0.60         5
   macro avg       0.50      0.56      0.49         5
weighted avg       0.70      0.60      0.61         5
"""  # of scikit-learn's documentation


def test_the_table_of_scikit_learns_documentation():
    names = ["class 0", "class 1", "class 2"]
    assert classification_report(TRUE, GUESSED, target_names=names) == STORED
    rows, p = np.eye(3)[TRUE], 0.2 + 0.4 * np.eye(3)[GUESSED]
    assert classification_report(rows, p, target_names=names) == STORED
    np.testing.assert_array_equal(confusion_matrix(rows, p), [[1, 0, 0], [1, 0, 0], [0, 1, 2]])


@pytest.mark.parametrize("digits", [0, 2, 5, 17])
@pytest.mark.parametrize("K", [2, 3, 10, 130])
def test_every_character_is_scikit_learns(K, digits):
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    rng = np.random.default_rng(K)
    true, guessed = rng.integers(0, K, 400) // 2 * 2, rng.integers(0, K, 400) // 3 * 3
    found = {*true.tolist(), *guessed.tolist()}
    for names in (None, [f"the name of {k}" * (1 + k % 2) for k in range(len(found))]):
        expected = sklearn.classification_report(
            true, guessed, target_names=names, digits=digits, zero_division=0
        )
        assert classification_report(true, guessed, target_names=names, digits=digits) == expected
    assert found == {*np.flatnonzero(confusion_matrix(true, guessed).sum(0)).tolist(), *true}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 1], [0]), "2 labels and 1 predictions"),
        (([], []), "y_true"),
        (([0.5], [0]), r"y_true\[0\] is 0.5, expected class numbers"),
        (([0], [np.nan]), r"y_pred\[0\] is nan, expected finite numbers"),
        (([0, 1], [0, 20_000]), "20001 classes, expected up to 10,000"),
        (([0, 1], [0, 1], ["one"]), "target_names: 1 names, expected 2, for the classes 0, 1"),
        (([0, 1], [0, 1], "ab"), "target_names='ab', expected a list of text"),
        (([0, 1], [0, 1], None, -1), "digits=-1"),
    ],
)
def test_what_is_wrong_is_named(arguments, message):
    options = dict(zip(("y_true", "y_pred", "target_names", "digits"), arguments, strict=False))
    with pytest.raises(ValueError, match=message):
        classification_report(**options)
