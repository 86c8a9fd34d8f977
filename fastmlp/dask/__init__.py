"""Training on a cluster of Dask: tables, in parts of their rows, and one network by many workers.

Needs scikit-learn and Dask: ``pip install scikit-learn 'dask[dataframe,distributed]'``.
"""

from fastmlp.dask.network import fit
from fastmlp.dask.tables import DaskTabMLPClassifier, DaskTabMLPRegressor

__all__ = ["DaskTabMLPClassifier", "DaskTabMLPRegressor", "fit"]
