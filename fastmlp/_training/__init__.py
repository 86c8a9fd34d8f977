"""How a model is trained: one loop over epochs, and what a fit brings to it.

``loop`` runs the epochs, whoever asks: ``MLP.fit``, ``MLP.partial_fit`` or an estimator. They
differ in ``rates`` (the learning rate of each step), ``judge`` (what is measured, and when it is
enough) and ``reporter`` (who is told).
"""
