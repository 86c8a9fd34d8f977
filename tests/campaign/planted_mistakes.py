"""The mistakes that `mutants.py` plants: what stands in a file once, and what is put in its place.

tests/package/test_house.py fails where a text is gone: give the row a text of the new code. The
tests of a row are those nearest to the code, not the whole suite; they have to notice alone.
"""

from __future__ import annotations

from typing import NamedTuple


class Mistake(NamedTuple):
    """One mistake."""

    kind: str
    path: str
    right: str
    wrong: str
    tests: str  # paths are relative to tests/


def _rows(kind: str, *rows: tuple[str, str, str, str]) -> list[Mistake]:
    return [Mistake(kind, f"fastmlp/{path}", *rest) for path, *rest in rows]


def _native(kind: str, *rows: tuple[str, str, str, str]) -> list[Mistake]:
    return [Mistake(kind, f"src_cython/{path}", *rest) for path, *rest in rows]


# One line a mistake.
# fmt: off
_WRONG_SIGN = _rows(
    "wrong sign",
    ("_explain/explain.py", "totals - values.sum(axis=1)", "totals + values.sum(axis=1)", "tabular/test_tabular_explain.py"),
    ("tabular/report/reasons.py", 'worst = np.argsort(-errors', 'worst = np.argsort(errors', "tabular/test_tabular_reasons.py"),
    ("sklearn/from_sklearn_network.py", "mean = y_mean - y_scale * value.shift / gain", "mean = y_mean + y_scale * value.shift / gain", "export/test_read_sklearn.py"),
    ("_models/conversion/graph.py", "scaled(value, shift=-high)", "scaled(value, shift=high)", "export/test_read_torch.py"),
    ("_network/averaging.py", "/ (1 - self.decay**n)", "/ (1 + self.decay**n)", "network/test_averaging.py"),
    ("_engine/numpy/forward_pass.py", "dx = dx + last @", "dx = dx - last @", "network/test_operators.py"),
    ("sklearn/scaling.py", "biases[0] + self.x_mean @", "biases[0] - self.x_mean @", "sklearn/test_sklearn_extensions.py sklearn/test_sklearn.py sklearn/test_sklearn_threads.py sklearn/test_sklearn_whole.py sklearn/test_sklearn_limits.py"),
    ("tabular/outcome/conformal.py", "(y - prediction) * shrink", "(prediction - y) * shrink", "tabular/test_tabular_numbers.py tabular/test_tabular.py"),
    ("_models/ensemble/mixture.py", "return log_yes - log_no", "return log_yes + log_no", "models/test_ensemble.py models/test_joint.py models/test_ensemble_life.py"),
    ("_export/activations.py", "g.Sub(g.Exp(g.Min(z, 0.0)), 1.0)", "g.Add(g.Exp(g.Min(z, 0.0)), 1.0)", "export/test_networks.py"),
    ("tabular/export/c_source.py", "biases -= weights[bins]", "biases += weights[bins]", "export/test_c_tables.py"),
    ("_export/c_source.py", '"    y[0] = 1.0 - y[1];', '"    y[0] = 1.0 + y[1];', "export/test_networks.py"),
    ("tabular/outcome/temperature.py", "/ p) ** (1 / temperature)", "/ p) ** (-1 / temperature)", "tabular/test_tabular_numbers.py tabular/test_tabular.py"),
)
_OFF_BY_ONE = _rows(
    "off by one",
    ("_explain/shapley.py", "place[chain[part]] <= step[part, np.newaxis]", "place[chain[part]] < step[part, np.newaxis]", "explain/test_explain.py"),
    ("_explain/shapley.py", "math.comb(players - 1, s)", "math.comb(players, s)", "explain/test_explain.py"),
    ("_models/conversion/assembly.py", "lengths = {k + 1 - first for", "lengths = {k - first for", "export/test_read_torch.py"),
    ("_training/arrow.py", "partial(_place, row + first)", "partial(_place, first)", "training/test_arrow.py"),
    ("_network/schedules.py", "drops = step //", "drops = (step + 1) //", "network/test_optimizers.py network/test_scheduled.py"),
    ("_network/schedules.py", "/ (step + 1.0) **", "/ (step + 2.0) **", "network/test_optimizers.py network/test_scheduled.py"),
    ("_training/callbacks.py", "if self.wait < self.patience:\n            return False", "if self.wait <= self.patience:\n            return False", "training/test_callbacks.py"),
    ("_training/weight_average.py", "epoch - self.averaging.start + 1", "epoch - self.averaging.start", "network/test_averaging.py"),
    ("_files/safetensors.py", "check(at >= payload,", "check(at + 1 >= payload,", "files/test_hostile.py"),
    ("_models/ensemble/member_data.py", "if not 0 <= extreme < n:", "if not 0 <= extreme <= n:", "models/test_ensemble.py"),
    ("tabular/outcome/conformal.py", "room = tail * (n + 1) - 1", "room = tail * n - 1", "tabular/test_tabular_numbers.py tabular/test_tabular.py"),
    ("tabular/table/encoding.py", "[: bins // 3]", "[: bins // 3 + 1]", "tabular/test_tabular_columns.py tabular/test_tabular_recipes.py"),
    ("sklearn/stopping.py", "worse = loss > best - tol", "worse = loss >= best - tol", "sklearn/test_sklearn.py"),
    ("sklearn/stopping.py", "\"_no_improvement_count\"] <= draft", "\"_no_improvement_count\"] < draft", "sklearn/test_sklearn_extensions.py sklearn/test_sklearn.py sklearn/test_sklearn_threads.py sklearn/test_sklearn_whole.py sklearn/test_sklearn_limits.py"),
)
_MISSING_LOCK = _rows(
    "missing lock",
    ("_models/network.py", "with self.lock.held():\n            parameters = []", "if True:\n            parameters = []", "engine/test_races.py training/test_callbacks.py engine/test_faults.py"),
    ("_models/network.py", "with self.lock.held():\n            parameters = self.parameters()", "if True:\n            parameters = self.parameters()", "engine/test_races.py training/test_callbacks.py engine/test_faults.py"),
    ("_models/mlp.py", "with network.lock.taken():\n            if output_gradient", "if True:\n            if output_gradient", "engine/test_races.py training/test_callbacks.py engine/test_faults.py"),
    ("_models/ensemble/ensemble.py", "with network.taken():\n            given = GivenRows(X, y, sample_weight, dy, dy_weight)\n            data = member_data.datas(given, network.spec, len(self._members))\n            options = StepOptions(optimizer, l1, l2, clip_norm, groups, dropout)\n            plans = self._plans(data, batch_size, options)\n            return", "if True:\n            given = GivenRows(X, y, sample_weight, dy, dy_weight)\n            data = member_data.datas(given, network.spec, len(self._members))\n            options = StepOptions(optimizer, l1, l2, clip_norm, groups, dropout)\n            plans = self._plans(data, batch_size, options)\n            return", "models/test_ensemble.py models/test_ensemble_life.py"),
    ("_core/fit_lock.py", "if holders.setdefault(process, mine) is not mine:", "if False and holders.setdefault(process, mine) is not mine:", "core/test_fit_lock.py"),
    ("sklearn/parameters.py", "with lock.taken():", "if True:", "sklearn/test_sklearn_threads.py core/test_fit_lock.py"),
    ("sklearn/estimator.py", "with self._lock().held():", "if True:", "sklearn/test_sklearn_threads.py core/test_fit_lock.py"),
    ("_training/lbfgs.py", "stack.enter_context(_blas.taken())", "pass", "sklearn/test_sklearn_limits.py"),
)
_SWAPPED = _rows(
    "swapped argument",
    ("_explain/shapley.py", "np.where(mask(part), self.x[i[part]], self.background[b[part]])", "np.where(mask(part), self.background[b[part]], self.x[i[part]])", "explain/test_explain.py"),
    ("_engine/coalitions.py", "inputs[:, ::2] = masks.reshape(-1, columns)", "inputs[:, ::2] = ~masks.reshape(-1, columns)", "engine/test_coalitions.py"),
    ("_models/conversion/graph.py", "np.concatenate([eye, -eye])", "np.concatenate([-eye, eye])", "export/test_read_torch.py"),
    ("_network/tensors.py", "for arrays in kinds for array in arrays]", "for arrays in kinds for array in arrays[::-1]]", "sklearn/test_sklearn_extensions.py sklearn/test_sklearn.py sklearn/test_sklearn_threads.py sklearn/test_sklearn_whole.py sklearn/test_sklearn_limits.py"),
    ("_network/schedules.py", "_half_cosine(self.peak / self.start_divisor, self.peak, share / warm)", "_half_cosine(self.peak, self.peak / self.start_divisor, share / warm)", "network/test_optimizers.py network/test_scheduled.py"),
    ("_models/ensemble/member_data.py", "np.searchsorted(union, numbers)", "np.searchsorted(numbers, union)", "models/test_ensemble.py models/test_joint.py models/test_ensemble_life.py"),
    ("_engine/numpy/forward_pass.py", "over(inputs[0], last)", "over(x, last)", "engine/test_numpy_engine.py"),
    ("_models/codecs/models.py", "[generators.index(generator) for generator in generators]", "list(range(len(generators)))", "files/test_saving.py"),
    ("tabular/outcome/survival_scores.py", "times[rows]) & ~events)", "times[rows]) & events)", "tabular/test_survival_scores.py"),
    ("tabular/outcome/survival_target.py", "- (passed & ~happened))", "- ~happened)", "tabular/test_tabular_survival.py"),
    ("tabular/outcome/survival_target.py", "survival(prediction[rows], edges, middle)", "survival(prediction, edges, middle)", "tabular/test_tabular_survival.py"),
    ("tabular/outcome/loss_rows.py", "ratio = y / mean", "ratio = mean / y", "tabular/test_tabular_losses.py"),
    ("data/c_templates.txt", "k + 1, $means, $columns)", "k + 1, $columns, $means)", "export/test_networks.py"),
    ("_export/onnx_nodes.py", "return mean, g.Exp(logarithm)", "return logarithm, g.Exp(mean)", "export/test_networks.py"),
    ("_training/weight_average.py", "AveragingState(raw, mean, max(1, n))", "AveragingState(mean, raw, max(1, n))", "network/test_averaging.py"),
    ("_training/metrics.py", "f(y, p)) for name", "f(p, y)) for name", "training/test_metrics.py"),
    ("_training/distributed/processes.py", "[local * weight, weight])", "[weight, local * weight])", "training/test_processes.py training/test_processes_agree.py"),
    ("tabular/recipe/blend.py", "of_all(alone, pair, target.row.averaging)", "of_all(pair, alone, target.row.averaging)", "tabular/test_tabular_recipes.py tabular/test_tabular_numbers.py tabular/test_tabular.py"),
)
_LOST_WEIGHT = _rows(
    "lost weight",
    ("tabular/outcome/survival_scores.py", "np.bincount(at, part, len(distinct)) for part in (w, w * events)", "np.bincount(at, part, len(distinct)) for part in (w, 1.0 * events)", "tabular/test_survival_scores.py"),
    ("tabular/fit/offsets.py", "np.asarray(sample_weight) * power", "np.asarray(sample_weight)", "tabular/test_tabular_offsets.py"),
    ("tabular/survival.py", "events, risks, weights)", "events, risks, None)", "tabular/test_tabular_survival.py"),
    ("_explain/explain.py", "deviation.max(keepdims=True)", "deviation", "explain/test_explain.py"),
    ("_explain/shapley.py", "variance = np.maximum(spread[todo], 0) / max(checks - RARE, 1)", "variance = np.maximum(spread[todo], 0) / count.sum()", "explain/test_explain.py"),
    ("sklearn/from_sklearn_network.py", "if not is_white", "if True", "export/test_read_sklearn.py"),
    ("_models/ensemble/mixture.py", "np.average(values.astype(np.float64), weights=weights)", "np.average(values.astype(np.float64))", "models/test_ensemble.py models/test_joint.py models/test_ensemble_life.py"),
    ("_models/ensemble/member_data.py", "check.row_weights, y_checked, slopes, weights, spec", "check.row_weights, y_checked, slopes, None, spec", "models/test_ensemble.py models/test_joint.py models/test_ensemble_life.py"),
    ("tabular/outcome/conformal.py", "np.ones(len(y)) if weights is None else weights", "np.ones(len(y))", "tabular/test_tabular_numbers.py tabular/test_tabular.py tabular/test_tabular_misuse.py tabular/test_tabular_limits.py"),
    ("tabular/outcome/conformal.py", "np.bincount(way, w * residual) ** 2", "np.bincount(way, residual) ** 2", "tabular/test_tabular_numbers.py"),
    ("tabular/report/page.py", "np.average(evidence.mistakes, weights=evidence.weights)", "np.average(evidence.mistakes)", "tabular/test_tabular.py"),
    ("tabular/table/data_warnings.py", "count = np.count_nonzero(np.isnan(y)) if", "count = 0 if", "tabular/test_tabular_gaps.py"),
    ("tabular/outcome/temperature.py", "None if weights is None else weights[thinned], 1.0", "None, 1.0", "tabular/test_tabular_numbers.py tabular/test_tabular.py tabular/test_tabular_misuse.py tabular/test_tabular_limits.py"),
    ("tabular/outcome/targets.py", "fitted(outputs, self.y, weights)", "fitted(outputs, self.y, None)", "tabular/test_tabular_numbers.py"),
    ("tabular/fit/training.py", "= 1.0 if data.scored.weights is None else data.scored.weights", "= 1.0", "tabular/test_tabular_numbers.py tabular/test_tabular.py tabular/test_tabular_misuse.py tabular/test_tabular_limits.py"),
    ("sklearn/scaling.py", "np.average((unit - mean) ** 2, axis=0, weights=weights)", "np.average((unit - mean) ** 2, axis=0)", "sklearn/test_sklearn_extensions.py sklearn/test_sklearn.py sklearn/test_sklearn_threads.py sklearn/test_sklearn_whole.py sklearn/test_sklearn_limits.py"),
    ("sklearn/lbfgs.py", "if data.weights is None else data.weights.sum(dtype=float)", "if True else 0", "sklearn/test_sklearn_extensions.py sklearn/test_sklearn.py sklearn/test_sklearn_threads.py sklearn/test_sklearn_whole.py sklearn/test_sklearn_limits.py"),
    ("_engine/numpy/numpy_engine.py", "np.count_nonzero(_sample_weight(batch))", "len(rows)", "engine/test_batches.py"),
    ("_training/callback_state.py", "for name in OPTIONAL)", "for name in list(OPTIONAL)[1:])", "files/test_checkpoint.py files/test_resume.py"),
    ("_training/distributed/processes.py", "np.bincount(batches, weights)", "np.bincount(batches)", "training/test_processes.py training/test_processes_agree.py"),
)
_LEAK = _rows(
    "leak",
    ("tabular/parts.py", "    if parts[k].times is not None:", "    if False:", "tabular/test_tabular_time.py"),
    ("tabular/outcome/periods.py", "before = np.flatnonzero(times < ", "before = np.flatnonzero(times >= ", "tabular/test_tabular_time.py"),
    ("tabular/outcome/periods.py", "OLDEST ** (1 - places)", "OLDEST**places", "tabular/test_tabular_time.py"),
    ("tabular/plan/folds.py", "n - different >= MANY_ALIKE * n", "False", "tabular/test_tabular_columns.py"),
)
_STALE = _rows(
    "stale cache",
    ("_explain/shapley.py", "rng = np.random.default_rng([seed, number])", "rng = np.random.default_rng([seed, 0])", "explain/test_explain.py"),
    ("_training/planning.py", "or not all(map(operator.is_, options, self.options))", "or False", "models/test_goes_on.py"),
    ("_training/parquet.py", "_version(self.fragment.path) != self.version", "False", "training/test_stores.py"),
    ("_network/sparse.py", '"integers").copy()', '"integers")', "network/test_sparse.py"),
    ("_network/data.py", "order[rows] = self.rows + np.arange(part.rows)", "pass", "models/test_sparse_doors.py"),
    ("_models/network.py", "self.resume_state = self.resume_state._replace(averaged=None)", "pass", "network/test_averaging.py"),
    ("sklearn/scaled_network.py", "return not (same and np.array_equal(self._bits, self._before))", "return not same", "sklearn/test_sklearn_extensions.py sklearn/test_sklearn.py sklearn/test_sklearn_threads.py sklearn/test_sklearn_whole.py sklearn/test_sklearn_limits.py"),
    ("sklearn/scaled_network.py", "self._before = flat.view(self._bits.dtype)", "pass", "sklearn/test_sklearn_extensions.py sklearn/test_sklearn.py sklearn/test_sklearn_threads.py sklearn/test_sklearn_whole.py sklearn/test_sklearn_limits.py"),
    ("sklearn/scaled_network.py", '"""Drop caches after ``engine`` has changed."""\n        self._view = {}', '"""Drop caches after ``engine`` has changed."""', "sklearn/test_sklearn_extensions.py sklearn/test_sklearn.py sklearn/test_sklearn_threads.py sklearn/test_sklearn_whole.py sklearn/test_sklearn_limits.py"),
    ("dask/tables.py", "seeds = random.randint(2**31 - 1, size=count).tolist()", "seeds = [random.randint(2**31 - 1)] * count", "training/test_dask.py"),
    ("sklearn/stopping.py", "best = monitored, self.engine.snapshot()", "best = monitored, self.best or self.engine.snapshot()", "sklearn/test_sklearn_extensions.py sklearn/test_sklearn.py sklearn/test_sklearn_threads.py sklearn/test_sklearn_whole.py sklearn/test_sklearn_limits.py"),
    ("_training/callbacks.py", "super().start(state)\n        self.best_epoch, self._snapshot = -1, None", "super().start(state)", "training/test_callbacks.py files/test_checkpoint.py"),
    ("_core/fit_lock.py", "if self._holders and not self.is_mine():", "if False:", "core/test_fit_lock.py models/test_ensemble_life.py"),
)
_LOST_CHECK = _rows(
    "lost check",
    ("sklearn/from_sklearn_network.py", 'is_weighted or getattr(model, "voting", "soft") != "soft"', 'getattr(model, "voting", "soft") != "soft"', "export/test_read_sklearn.py"),
    ("_explain/shapley.py", "& ~(np.isnan(x) & np.isnan(background))", "", "explain/test_explain.py"),
    ("tabular/outcome/targets.py", "are_counts = self.row.may_be_counts and np", "are_counts = np", "tabular/test_tabular_losses.py"),
    ("tabular/outcome/checked_survival.py", "if not np.isin(array, (0, 1)).all():", "if False:", "tabular/test_tabular_survival.py"),
    ("tabular/outcome/checked_survival.py", '(times >= 0) & (times <= LONGEST)).all():', '(times > -1)).all():', "tabular/test_tabular_survival.py"),
    ("tabular/survival.py", "((at >= 0) & (at <= last)).all()", "(at >= 0).all()", "tabular/test_tabular_survival.py"),
    ("tabular/fit/offsets.py", "not is_size:", "True:", "tabular/test_tabular_offsets.py"),
    ("_network/target_kinds.py", 'POSITIVE, "leave out', 'NON_NEGATIVE, "leave out', "network/test_target_kinds.py"),
    ("_network/target_kinds.py", "math.isnan(number) or number in self.allowed", "number in self.allowed", "network/test_target_kinds.py"),
    ("tabular/fit/training.py", "if not baseline.is_beaten(", "if False and baseline.is_beaten(", "tabular/test_tabular_importance.py"),
    ("_models/derivatives.py", "is not None or l1 or l2", "is not None or l2", "validation/test_compatibility.py"),
    ("_models/derivatives.py", '"sample_weight": sample_weight, "dy": dy}', '"sample_weight": sample_weight}', "validation/test_compatibility.py"),
    ("_models/lbfgs_trainer.py", '        "communicator": fit.ranks,\n', "", "validation/test_compatibility.py"),
    ("_core/printable.py", "if line.isprintable():\n        return line", "if True:\n        return line", "cli/test_command_errors.py"),
    ("_core/printable.py", "ascii(char)[1:-1] for", "char for", "cli/test_command_errors.py"),
    ("_files/strangers.py", "re.match(start, beginning, re.DOTALL)", "re.fullmatch(start, beginning, re.DOTALL)", "files/test_hostile.py"),
    ("_files/strangers.py", ".suffix.lower()", ".suffix", "files/test_saving.py"),
    ("_cli/info.py", "versions = {**config.config(), ", "versions: dict[str, Any] = {", "cli/test_command_line.py"),
    ("_cli/info.py", "versions[name] = importlib.metadata.version(name)", "versions[name] = name", "cli/test_command_line.py"),
)
_NATIVE = [
    *_native(
        "wrong sign",
        ("c/encoding.h", "fm_clipped((numbers[first + i] - centre[i])", "fm_clipped((centre[i] - numbers[first + i])", "tabular/test_tabular_rows.py"),
        ("fastmlp/tabular/table/rows.pyx", "clock -= (<int64_t>offset.days", "clock += (<int64_t>offset.days", "tabular/test_tabular_dates.py"),
        ("c/tables/optimizers.h", "return w + v_fma(v_set1(-s->rate), g, velocity", "return w - v_fma(v_set1(-s->rate), g, velocity", "engine/test_kernels.py"),
        ("c/panels/norm.h", "v_fma(-normal, mean_along, g - mean_g)", "v_fma(normal, mean_along, g - mean_g)", "engine/test_bits.py"),
    ),
    *_native(
        "off by one",
        ("fastmlp/_engine/jobs.pxd", "        b *= job.mask_step\n", "        b = 0\n", "engine/test_coalitions.py"),
        ("fastmlp/tabular/table/rows.pyx", "if code >= self.first.values[j]:", "if code > self.first.values[j]:", "tabular/test_tabular_rows.py"),
        ("c/panels/entries.h", "i-- > e->first[first];)", "--i > e->first[first];)", "engine/test_entries.py"),
        ("c/random/shuffle.h", "draw_below(drawn, i + 1, seed);", "draw_below(drawn, i, seed);", "engine/test_bits.py engine/test_batches.py"),
        ("c/random/dropout.h", "keys_set1((uint32_t)(first + r) +", "keys_set1((uint32_t)(first + r + 1) +", "engine/test_blocks.py"),
    ),
    *_native(
        "missing lock",
        ("fastmlp/_engine/parameters.pxi", "if arena_of_old is None or not FM_IS_ONLY_HERE(arena_of_old):", "if arena_of_old is None:", "engine/test_races.py training/test_callbacks.py"),
        ("fastmlp/_engine/jobs.pxd", "        if not wait_for(run, i // job.n, &interrupt):\n            return\n", "", "models/test_joint.py"),
        ("c/threads/sync.h", "    if (b->size == 1) return;\n", "    return;\n", "engine/test_bits.py engine/test_threads.py"),
    ),
    *_native(
        "swapped argument",
        ("fastmlp/tabular/table/rows.pyx", "clip, far = np.ascontiguousarray(limits, float)", "far, clip = np.ascontiguousarray(limits, float)", "tabular/test_tabular_rows.py"),
        ("c/panels/entries.h", "lane = &lanes[e->columns[i] % TREE_LANES]", "lane = &lanes[i % TREE_LANES]", "models/test_sparse_doors.py"),
        ("c/panels/norm.h", "v_fma(normal, v_load(gain + c), v_load(shift + c))", "v_fma(normal, v_load(shift + c), v_load(gain + c))", "engine/test_bits.py"),
    ),
    *_native(
        "lost weight",
        ("fastmlp/_engine/engine.pxi", "start_of(data.weights), start_of(data.output_weights)", "NULL, start_of(data.output_weights)", "engine/test_blocks.py"),
        ("kernels/derivatives.pxd", "row_of(task.order, start + r) * d.n_tangents", "(start + r) * d.n_tangents", "engine/test_jacobian_loss.py"),
        ("fastmlp/_engine/kernels.pxi", "\n            or not (cnp.PyArray_IS_C_CONTIGUOUS(x) or cnp.PyArray_IS_F_CONTIGUOUS(x))):", "):", "validation/test_input.py"),
        ("kernels/epoch.pxd", "<double>(weight != 0)", "<double>1", "engine/test_batches.py"),
        ("kernels/epoch.pxd", "(<real*>task.data.weights)[row_of(task.order, r)]", "(<real*>task.data.weights)[r]", "engine/test_blocks.py"),
    ),
    *_native(
        "stale cache",
        ("fastmlp/_engine/engine.pxi", "copied = np.union1d(moved, self.stale)", "copied = moved", "models/test_sparse_doors.py"),
        ("fastmlp/_engine/parameters.pxi", "self.stale = self.published, parameters, None", "self.stale = self.published, parameters, self.stale", "models/test_sparse_doors.py"),
        ("fastmlp/_engine/engine.pxi", "if context.copied is not self.published:", "if context.copied is None:", "engine/test_state.py models/test_mlp.py"),
        ("c/panels/entries.h", "    clear_entries(e, thread);\n", "", "engine/test_entries.py"),
        ("kernels/epoch.pxd", "            clear_entries(buffers.entries, thread)\n", "            pass\n", "engine/test_entries.py"),
        ("kernels/pieces.pxd", "prefetch)\n    finish_piece(task, piece)\n", "prefetch)\n", "engine/test_blocks.py"),
        ("fastmlp/_engine/engine.pxi", "or last.drops != drops):", "):", "network/test_scheduled.py"),
    ),
]
# fmt: on

MISTAKES = [
    *_WRONG_SIGN,
    *_OFF_BY_ONE,
    *_MISSING_LOCK,
    *_SWAPPED,
    *_LOST_WEIGHT,
    *_LEAK,
    *_STALE,
    *_LOST_CHECK,
    *_NATIVE,
]
