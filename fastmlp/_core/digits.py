"""Handwritten digits for the demo, examples and tests; fastmlp/data/digits.txt has the licence."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import numpy.typing as npt


def load() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return 1,797 images of handwritten digits, 8 x 8 pixels each, and their labels.

    Returns
    -------
    pixels : ndarray of uint8, shape (1797, 64)
        The rows of each image one after the other, from 0 (white) to 16 (black).
    labels : ndarray of uint8, shape (1797,)
        The digit, 0 to 9.

    Notes
    -----
    Optical Recognition of Handwritten Digits (test set), E. Alpaydin and C. Kaynak, 1998, UCI
    Machine Learning Repository, doi:10.24432/C50P49, licensed under CC BY 4.0.

    Examples
    --------
    >>> from fastmlp import digits
    >>> pixels, labels = digits.load()
    >>> pixels.shape, int(pixels.max()), labels[:5].tolist()
    ((1797, 64), 16, [0, 1, 2, 3, 4])
    """
    with (files("fastmlp") / "data" / "digits.npz").open("rb") as file, np.load(file) as data:
        columns, labels = data["pixels"], data["labels"]
    # Stored by pixel and label, so that like numbers stand together and the file is smaller.
    pixels = np.empty(columns.shape[::-1], np.uint8)
    pixels[np.argsort(labels, kind="stable")] = columns.T
    return pixels, labels


def split(
    seed: int = 0,
) -> tuple[
    npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.int64]
]:
    """Return a random two thirds of the digits to train on and the other third to test on.

    Parameters
    ----------
    seed : int, default 0
        Seed of the random choice, at least 0.

    Returns
    -------
    X, y, X_test, y_test : ndarray
        Pixels, float32 of shape (1198, 64) and (599, 64), scaled from 0..16 to -1..1; labels,
        int64 of shape (1198,) and (599,).

    Examples
    --------
    >>> from fastmlp import digits
    >>> X, y, X_test, y_test = digits.split(seed=1)
    >>> X.shape, X_test.shape, float(X.min()), float(X.max())
    ((1198, 64), (599, 64), -1.0, 1.0)
    """
    pixels, labels = load()
    order = np.random.default_rng(seed).permutation(len(labels))
    train, test = np.split(order, [len(order) * 2 // 3])
    X = (pixels / 8 - 1).astype(np.float32)
    y = labels.astype(np.int64)
    return X[train], y[train], X[test], y[test]
