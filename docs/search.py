"""The words under which the search finds a page that says them otherwise, and a check of it.

The words are entries of the site's index, which the search ranks first; `conf.py` adds them to the
pages. `check_site.py` asks the built site's own search for each of `SEARCHES`.
"""

from __future__ import annotations

WORDS = {
    "start/ten-minutes": (
        "tutorial, getting started, quickstart, first steps, hello world, train test split, "
        "house prices"
    ),
    "start/install": (
        "Windows, macOS, Mac, Apple silicon, Docker, container, conda, pip, wheel, ARM, "
        "Raspberry Pi, installation, requirements, AWS Lambda, pip install, compile error, "
        "Jupyter, Python version, NumPy version"
    ),
    "start/limits": (
        "GPU, CUDA, convolution, CNN, recurrent network, RNN, LSTM, transformer, autodiff, "
        "batch normalization, MSVC, ranking, pruning"
    ),
    "start/which": (
        "images, text, NLP, vision, when to use, forecasting, alternatives, "
        "image classification, autoencoder, anomaly detection, recommendation system"
    ),
    "start/features": (
        "activation functions, relu, residual block, layer normalization, LayerNorm, skip, "
        "type hints"
    ),
    "trust": (
        "license, licence, SBOM, security, dependencies, deprecation, support, "
        "test coverage, privacy, telemetry, version policy, cite, citation"
    ),
    "tabular": "tabular data, DataFrame, pandas, AutoML",
    "network": "MLP, multilayer perceptron, neural network, feed-forward, regression on arrays",
    "reference/networks": (
        "layer options, residual, LayerNorm, initializer, gradient clipping, "
        "default training, number of steps, sample weight, hidden layers"
    ),
    "guides/tables": (
        "class weight, imbalanced classes, feature importance, calibration, monotonic constraints, "
        "out of fold, class imbalance, probability calibration, feature selection, "
        "cross-validation, cross validation, R2 score, confusion matrix, accuracy, ROC AUC, dates, "
        "datetime, data leakage, partial dependence, monotonic, feature names"
    ),
    "guides/intervals": "prediction intervals, conformal prediction, skewed target",
    "guides/rows-in-time": "time series, time series split, backtest",
    "guides/distill": "distillation, knowledge distillation, teacher, student, model size",
    "reference/tables": (
        "categorical features, missing values, NaN, preprocessing, text columns, imputer, "
        "ColumnTransformer, embedding, one hot encoding, time limit, "
        "unseen category"
    ),
    "comparison": (
        "benchmark on tables, CatBoost, LightGBM, XGBoost, gradient boosting, TabPFN, random forest"
    ),
    "performance": (
        "benchmark, benchmarks, speed, training time, mixed precision, float16, speed up, "
        "slow training"
    ),
    "guides/uncertainty": (
        "confidence interval, prediction interval, standard deviation, Bayesian, error bars, "
        "quantile, Gaussian process"
    ),
    "guides/choose": (
        "fine-tune, fine-tuning, transfer learning, freeze layers, learning rate, "
        "learning rate schedule, hyperparameters, number of epochs, weight decay, "
        "regularization, overfitting, defaults, count data, classification loss, "
        "multi-label, custom metric, multiclass, outliers, standardize, normalize, "
        "feature scaling, StandardScaler, cosine annealing, to_categorical, "
        "L1 regularization, dropout"
    ),
    "saving": (
        "save, load, save model, load model, pickle, checkpoint, resume training, "
        "progress bar, verbose, resume, callback, TensorBoard, safetensors"
    ),
    "prediction": (
        "inference, latency, real time, low latency, quantization, int8, Cython, numba, robot, "
        "microsecond"
    ),
    "derivatives": (
        "gradient, autograd, Jacobian, Hessian, physics-informed, PINN, sensitivity, "
        "surrogate model, reinforcement learning, physics informed"
    ),
    "deploying": (
        "WebAssembly, browser, JavaScript, FastAPI, REST service, web service, WASM, production, "
        "export, REST API, deploy model, Android, Java"
    ),
    "guides/onnx": "ONNX, ONNX Runtime, TensorFlow Lite, TorchScript, OpenVINO, skl2onnx",
    "guides/export-c": "C code, embedded, microcontroller, Arduino, Rust, C++, edge, firmware",
    "functions": "custom loss, custom activation, custom optimizer, own loss function",
    "guides/threads": "multithreading, number of threads, OpenMP, n_jobs, GIL, cores, thread pool",
    "same-bits": "reproducibility, random seed, seed, determinism, deterministic",
    "sparse": "sparse matrix, one-hot, TF-IDF, bag of words, scipy.sparse, hashing",
    "targets": (
        "multi-output, multiple outputs, multi output, missing targets, quantile regression, "
        "missing labels, multi-task"
    ),
    "sources": "big data, out of core, Parquet, data loader, memory-mapped, generator",
    "guides/growing": (
        "memory usage, out of memory, large data, scale up, more machines, memory error"
    ),
    "guides/drift": (
        "online learning, incremental learning, streaming, partial_fit, concept drift, warm start"
    ),
    "processes": "MPI, distributed training, multiprocessing, cluster, data parallel, DDP",
    "guides/other-tools": (
        "Optuna, hyperparameter search, grid search, SHAP, MLflow, Dask, Ray, DuckDB, SQL, "
        "SMOTE, pipeline, skops, MAPIE, explainability, interpretability, CasADi, "
        "optimal control, MPC, hyperparameter tuning, polars"
    ),
    "guides/spark": "Spark, PySpark, Databricks, cluster",
    "guides/bring-your-model": "convert model, import model, from Keras, from sklearn",
    "guides/pytorch-to-c": "convert PyTorch model, PyTorch to C, export PyTorch",
    "coming-from": (
        "scikit-learn, PyTorch, Keras, TensorFlow, migration, equivalent names, nn.Linear, logits"
    ),
    "command-line": "terminal, CLI, CSV, shell, without Python, Excel",
    "guides/failures": "survival analysis, churn, censoring, Kaplan-Meier, Cox model",
    "course/nonlinearity": "XOR, exclusive or, perceptron, activation function, decision boundary",
    "course/backpropagation": "backprop, chain rule, micrograd, from scratch",
    "course/digits": "MNIST, handwritten digits",
    "course/overfitting": "early stopping, validation set, dropout explained, learning curve",
    "course/first-weights": "vanishing gradients, weight initialization, Xavier, He initialization",
    "course/batches": (
        "stochastic gradient descent, momentum, mini-batch, Adam explained, batch size"
    ),
    "course/divergence": "loss is NaN, exploding loss, divergence, loss becomes infinite, NaN loss",
    "reference/glossary": "terms, definitions, vocabulary",
    "reliability": "fuzzing, memory safety, thread safety, crash",
    "compatibility": "error messages",
    "course/step": "linear regression",
    "course/classes": "logistic regression, classification, softmax, cross-entropy",
    "course/probability": "mean squared error, likelihood",
    "course/index": "neural network, deep learning",
    "development/index": "contribute",
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
    "missing values": "reference/tables",
    "categorical": "reference/tables",
    "class weight": "guides/tables",
    "imbalanced": "guides/tables",
    "time series": "guides/rows-in-time",
    "feature importance": "guides/tables",
    "cross-validation": "guides/tables",
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
    "early stopping": "course/overfitting",
    "ensemble": "Ensemble",
    "save": "saving",
    "pickle": "saving",
    "latency": "prediction",
    "quantization": "prediction",
    "gradient": "derivatives",
    "onnx": "guides/onnx",
    "microcontroller": "guides/export-c",
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
    "TorchScript": "guides/onnx",
    "StandardScaler": "guides/choose",
    "imputer": "reference/tables",
    "learning curve": "course/overfitting",
    "hyperparameter tuning": "guides/other-tools",
    "image classification": "start/which",
    "nan loss": "course/divergence",
    "error message": "compatibility",
    "speed up": "performance",
    "cross validation": "guides/tables",
    "r2 score": "guides/tables",
    "embedding": "reference/tables",
    "quantile": "guides/uncertainty",
    "linear regression": "course/step",
    "logistic regression": "course/classes",
    "classification": "course/classes",
    "softmax": "course/classes",
    "cross-entropy": "course/classes",
    "confusion matrix": "guides/tables",
    "accuracy": "guides/tables",
    "roc auc": "guides/tables",
    "mean squared error": "course/probability",
    "likelihood": "course/probability",
    "dropout": "guides/choose",
    "batch size": "course/batches",
    "activation function": "course/nonlinearity",
    "neural network": "course/index",
    "deep learning": "course/index",
    "train test split": "start/ten-minutes",
    "dates": "guides/tables",
    "one hot encoding": "reference/tables",
    "data leakage": "guides/tables",
    "partial dependence": "guides/tables",
    "progress bar": "saving",
    "verbose": "saving",
    "resume": "saving",
    "callback": "saving",
    "tensorboard": "saving",
    "pip install": "start/install",
    "compile error": "start/install",
    "jupyter": "start/install",
    "conda": "start/install",
    "random forest": "comparison",
    "gaussian process": "guides/uncertainty",
    "confidence": "guides/uncertainty",
    "logits": "coming-from",
    "memory error": "guides/growing",
    "csv": "command-line",
    "excel": "command-line",
    "polars": "guides/other-tools",
    "grid search": "guides/other-tools",
    "random seed": "same-bits",
    "slow training": "performance",
    "android": "deploying",
    "java": "deploying",
    "c++": "guides/export-c",
    "rest api": "deploying",
    "edge": "guides/export-c",
    "safetensors": "saving",
    "surrogate model": "derivatives",
    "reinforcement learning": "derivatives",
    "robot": "prediction",
    "autoencoder": "start/which",
    "house prices": "start/ten-minutes",
    "cite": "trust",
    "multilayer perceptron": "network",
    "contribute": "development/index",
    "how to save a model": "saving",
    "install without internet": "start/install",
    "probability threshold": "guides/tables",
    "polynomial features": "reference/tables",
    "retrain with new data": "guides/drift",
    "keras alternative": "coming-from",
    "how many hidden layers": "reference/networks",
    "explain a prediction": "explaining",
    "report": "guides/tables",
    "unseen category": "reference/tables",
    "thread pool": "guides/threads",
    "nogil": "prediction",
    "microsecond": "prediction",
    "float64": "guides/choose",
    "warm start": "guides/drift",
    "sample weight": "reference/networks",
    "plot loss": "guides/choose",
    "extrapolation": "guides/intervals",
    "anomaly detection": "start/which",
    "ranking": "start/limits",
    "survival analysis": "guides/failures",
    "physics informed": "derivatives",
    "numpy version": "start/install",
    "python version": "start/install",
    "type hints": "start/features",
    "model size": "guides/distill",
    "pruning": "start/limits",
    "monotonic": "guides/tables",
    "curve fitting": "course/examples",
    "decision boundary": "course/nonlinearity",
    "matrix multiplication": "course/maps",
    "feature names": "guides/tables",
    "read csv": "command-line",
    "time limit": "reference/tables",
    "churn": "guides/failures",
    "recommendation system": "start/which",
}
