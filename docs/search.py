"""The words under which the search finds a page that says them otherwise, and a check of it.

The words are entries of the site's index, which the search ranks first; `conf.py` adds them to the
pages. `check_site.py` asks the built site's own search for each of `SEARCHES`.
"""

from __future__ import annotations

WORDS = {
    "start/ten-minutes": "tutorial, getting started, quickstart, first steps, hello world",
    "start/install": (
        "Windows, macOS, Mac, Apple silicon, Docker, container, conda, pip, wheel, ARM, "
        "Raspberry Pi, installation, requirements, AWS Lambda"
    ),
    "start/limits": (
        "GPU, CUDA, convolution, CNN, recurrent network, RNN, LSTM, transformer, autodiff, batch "
        "normalization, MSVC"
    ),
    "start/which": "images, text, NLP, vision, when to use, forecasting, alternatives",
    "start/features": (
        "activation functions, relu, residual block, layer normalization, LayerNorm, skip"
    ),
    "trust": (
        "license, licence, SBOM, security, dependencies, deprecation, support, test coverage, "
        "privacy, telemetry, version policy"
    ),
    "tabular": (
        "tabular data, DataFrame, pandas, categorical features, missing values, NaN, class weight, "
        "imbalanced classes, time series, feature importance, cross-validation, calibration, "
        "monotonic constraints, prediction intervals, AutoML, preprocessing, datetime, "
        "out of fold, class imbalance, probability calibration, text columns, imputer, "
        "ColumnTransformer, feature selection"
    ),
    "comparison": "benchmark on tables, CatBoost, LightGBM, XGBoost, gradient boosting, TabPFN",
    "performance": "benchmark, benchmarks, speed, training time, mixed precision, float16",
    "guides/uncertainty": (
        "confidence interval, prediction interval, standard deviation, Bayesian, error bars"
    ),
    "guides/choose": (
        "fine-tune, fine-tuning, transfer learning, freeze layers, learning rate, "
        "learning rate schedule, hyperparameters, number of epochs, weight decay, regularization, "
        "overfitting, defaults, count data, classification loss, multi-label, custom metric, "
        "multiclass, outliers, standardize, normalize, feature scaling, StandardScaler, "
        "cosine annealing, to_categorical, L1 regularization"
    ),
    "saving": "save, load, save model, load model, pickle, checkpoint, resume training",
    "prediction": "inference, latency, real time, low latency, quantization, int8, Cython, numba",
    "derivatives": "gradient, autograd, Jacobian, Hessian, physics-informed, PINN, sensitivity",
    "deploying": (
        "ONNX, C code, embedded, microcontroller, Arduino, WebAssembly, browser, JavaScript, "
        "FastAPI, REST service, web service, WASM, production, TensorFlow Lite, Rust, TorchScript, "
        "export"
    ),
    "functions": "custom loss, custom activation, custom optimizer, own loss function",
    "guides/threads": "multithreading, number of threads, OpenMP, n_jobs, GIL, cores",
    "same-bits": "reproducibility, random seed, seed, determinism, deterministic",
    "sparse": "sparse matrix, one-hot, TF-IDF, bag of words, scipy.sparse, hashing",
    "targets": (
        "multi-output, multiple outputs, multi output, missing targets, quantile regression, "
        "missing labels, multi-task"
    ),
    "sources": "big data, out of core, Parquet, data loader, memory-mapped, generator",
    "guides/growing": "memory usage, out of memory, large data, scale up, more machines",
    "guides/drift": "online learning, incremental learning, streaming, partial_fit, concept drift",
    "processes": "MPI, distributed training, multiprocessing, cluster, data parallel, DDP",
    "guides/other-tools": (
        "Optuna, hyperparameter search, grid search, SHAP, MLflow, Dask, Ray, DuckDB, SQL, SMOTE, "
        "pipeline, skops, MAPIE, explainability, interpretability, CasADi, optimal control, MPC"
    ),
    "guides/spark": "Spark, PySpark, Databricks, cluster",
    "guides/bring-your-model": "convert model, import model, from Keras, from sklearn",
    "guides/pytorch-to-c": "convert PyTorch model, PyTorch to C, export PyTorch",
    "coming-from": (
        "scikit-learn, PyTorch, Keras, TensorFlow, migration, equivalent names, nn.Linear"
    ),
    "command-line": "terminal, CLI, CSV, shell, without Python",
    "course/nonlinearity": "XOR, exclusive or, perceptron",
    "course/backpropagation": "backprop, chain rule, micrograd, from scratch",
    "course/digits": "MNIST, handwritten digits",
    "course/overfitting": "early stopping, validation set, dropout explained, learning curve",
    "course/first-weights": "vanishing gradients, weight initialization, Xavier, He initialization",
    "course/batches": "stochastic gradient descent, momentum, mini-batch, Adam explained",
    "course/divergence": "loss is NaN, exploding loss, divergence, loss becomes infinite",
    "reference/glossary": "terms, definitions, vocabulary",
    "reliability": "fuzzing, memory safety, thread safety, crash",
}

# What people look for, and a page that must be among the first three results.
SEARCHES = {
    "windows": "start/install",
    "macos": "start/install",
    "docker": "start/install",
    "tutorial": "start/ten-minutes",
    "getting started": "start/ten-minutes",
    "gpu": "start/limits",
    "cuda": "start/limits",
    "images": "start/which",
    "forecasting": "start/which",
    "license": "trust",
    "coverage": "trust",
    "missing values": "tabular",
    "categorical": "tabular",
    "class weight": "tabular",
    "imbalanced": "tabular",
    "time series": "tabular",
    "feature importance": "tabular",
    "cross-validation": "tabular",
    "catboost": "comparison",
    "benchmark": "performance",
    "fine-tune": "guides/choose",
    "transfer learning": "guides/choose",
    "normalize": "guides/choose",
    "outliers": "guides/choose",
    "multiclass": "guides/choose",
    "error bars": "guides/uncertainty",
    "memory usage": "guides/growing",
    "multi output": "targets",
    "web service": "deploying",
    "learning rate": "guides/choose",
    "number of epochs": "guides/choose",
    "early stopping": "EarlyStopping",
    "ensemble": "Ensemble",
    "save": "saving",
    "pickle": "saving",
    "latency": "prediction",
    "quantization": "prediction",
    "gradient": "derivatives",
    "onnx": "deploying",
    "microcontroller": "deploying",
    "custom loss": "functions",
    "multithreading": "guides/threads",
    "sparse matrix": "sparse",
    "quantile regression": "targets",
    "parquet": "sources",
    "online learning": "guides/drift",
    "hyperparameter search": "guides/other-tools",
    "shap": "guides/other-tools",
    "sql": "guides/other-tools",
    "casadi": "guides/other-tools",
    "scikit-learn": "coming-from",
    "keras": "coming-from",
    "xor": "course/nonlinearity",
    "backpropagation": "course/backpropagation",
    "mnist": "course/digits",
    "loss is nan": "course/divergence",
    "vanishing gradient": "course/first-weights",
    "architecture": "architecture",
    "nn.Linear": "coming-from",
    "LayerNorm": "start/features",
    "mixed precision": "performance",
    "DDP": "processes",
    "TorchScript": "deploying",
    "StandardScaler": "guides/choose",
    "imputer": "tabular",
    "learning curve": "course/overfitting",
}
