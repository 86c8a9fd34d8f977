// A network, its data and its training, on the engine. The worker runs the methods that the page asks for.
import { LINE, MAP, MOST_NODES, SMALL_LINE, SMALL_MAP } from "./grids.js";
import { read } from "./models.js";
import { DATA, featured, hasNumbers, numbers, rowsOf } from "./scenes.js";

const FAR = 1e6; // a loss so many times the first has diverged, also if it is still a number
const MOST_EDGES = 100; // weights and biases of which the numbers are noted
const MOST_LOSSES = 1000; // in a picture, evenly chosen from all
const MOST_TIMES = 50; // epochs, of which the mean time is shown

const none = () => ({ x: new Float32Array(), t: new Float32Array() });

// Columns of a matrix with so many columns.
const columnsOf = (values, width, columns) => columns.map(column =>
  Float32Array.from({ length: values.length / width }, (_, row) => values[row * width + column]));

export class Trainer {
  constructor(engine) {
    this.engine = engine;
  }

  // Start the training of a new network at epoch 0.
  begin(sizes, rows, fresh, about) {
    const start = { trained: 0, sum: 0, spent: 0, losses: [], times: [], failed: false, numbers: null };
    Object.assign(this, start, { sizes, rows, fresh }, about);
  }

  // Make a network with random first weights, and its data; the settings are those of `Engine.make`, and of the data.
  // Returns the points: the examples, and new ones that are not trained on (null for own points).
  make({ data, noise, own, points, fresh, sample, features, sizes, weights, ...options }) {
    const { inputs, row } = DATA[data];
    const drawn = [rowsOf(data, noise, own, points, 2 * sample + 5), row && rowsOf(data, noise, [], fresh, 2 * sample + 6)];
    const fed = drawn.map(rows => rows && { x: featured(rows.x, inputs, features), t: rows.t.slice() });
    this.engine.make(sizes, { ...options, seed: BigInt(options.seed) });
    const draw = numbers(options.seed);
    for (let l = 0; l + 1 < sizes.length; l++) {
      const limit = Math.sqrt(6 / (sizes[l] + sizes[l + 1])); // Glorot and Bengio 2010
      this.engine.set(l, 0, Float32Array.from({ length: sizes[l] * sizes[l + 1] }, () => limit * (2 * draw() - 1)));
    }
    if (weights) this.setAll(sizes, weights);
    this.begin(sizes, ...fed, { inputs, features, hasClasses: !hasNumbers(data) });
    return { rows: drawn[0], fresh: drawn[1] };
  }

  // Take the network in a file that the library saved; returns what `read` says of it.
  async open({ buffer }) {
    const { weights, biases, ...model } = await read(buffer);
    this.engine.make(model.sizes, { ...model, optimizer: "sgd", hyper: [0, 0, 0, 0], batch: 256 });
    weights.forEach((W, layer) => this.engine.set(layer, 0, W));
    biases.forEach((b, layer) => this.engine.set(layer, 1, b));
    this.begin(model.sizes, none(), null, { inputs: model.sizes[0], features: null, hasClasses: false });
    return model;
  }

  // Train until some epochs have ended or the time is over, in calls of the kernels with so many rows or one batch.
  // `notes` keeps the numbers of a batch of a small network.
  train({ rate, epochs, milliseconds, rows, notes }) {
    const end = performance.now() + milliseconds, last = this.losses.length + epochs;
    const { batch } = this.engine, most = batch * Math.ceil(rows / batch);
    do this.part(rate, most, notes);
    while (!this.failed && this.losses.length < last && performance.now() < end);
  }

  // Train on the next rows of the epoch, at most so many.
  part(rate, most, notes) {
    const { engine, rows: { x, t }, losses } = this;
    if (!t.length || this.failed) return;
    if (!this.trained) Object.assign(this, { order: engine.shuffled(t.length, losses.length), sum: 0, spent: 0 });
    const order = this.order.slice(this.trained, this.trained + most);
    const step = () => engine.train(x, t, order, rate);
    const weights = this.sizes.slice(1).reduce((sum, size, k) => sum + size * (this.sizes[k] + 1), 0);
    this.numbers = null;
    const started = performance.now();
    const loss = notes && order.length <= engine.batch && weights <= MOST_EDGES ? this.noted(order, rate, step) : step();
    this.first = losses.length || this.trained ? this.first : loss;
    this.failed = !(loss <= FAR * Math.max(this.first, 1e-3));
    this.sum += loss * order.length;
    this.trained += order.length;
    this.spent += performance.now() - started;
    if (this.trained === t.length || this.failed) this.endEpoch(loss);
  }

  endEpoch(loss) {
    const { engine, fresh, losses, sum, trained } = this;
    this.times = [...this.times.slice(1 - MOST_TIMES), this.spent];
    this.trained = 0;
    if (Number.isFinite(loss)) losses.push([sum / trained, fresh ? engine.evaluate(fresh.x, fresh.t) : NaN]);
  }

  // Do a step, and note the numbers of its batch: of each weight and bias the derivative, and the value before and after;
  // of a batch of one point also the two factors of the derivative.
  noted(order, rate, step) {
    const { engine, sizes, rows } = this;
    const layers = sizes.slice(1).map((_, layer) => layer);
    const tensors = isGradient => layers.map(layer => [engine.get(layer, 0, isGradient), engine.get(layer, 1, isGradient)]);
    engine.gradients(rows.x, rows.t, order);
    const before = tensors(false), slopes = tensors(true);
    const isOne = order.length === 1, row = Number(order[0]);
    const values = isOne && [rows.x.slice(row * sizes[0], (row + 1) * sizes[0]), ...layers.slice(0, -1).map(l => engine.neurons(l, false))];
    const dz = isOne && layers.map(layer => engine.neurons(layer, true));
    const result = step();
    const after = tensors(false);
    const edges = layers.flatMap(layer => Array.from({ length: (sizes[layer] + 1) * sizes[layer + 1] }, (_, k) => {
      const i = Math.floor(k / sizes[layer + 1]), o = k % sizes[layer + 1];
      const isBias = i === sizes[layer];
      const of = arrays => arrays[layer][+isBias][isBias ? o : k];
      const x = isBias ? 1 : values?.[layer]?.[i];
      return { layer, i, o, isBias, x: isOne ? x : NaN, dz: isOne ? dz[layer][o] : NaN, slope: of(slopes), before: of(before), after: of(after) };
    }));
    this.numbers = { edges, rate, size: order.length };
    return result;
  }

  // Set all weights and biases, layer by layer, in one list.
  setAll(sizes, values) {
    const count = sizes.slice(1).reduce((sum, size, l) => sum + size * (sizes[l] + 1), 0);
    if (values.length !== count || !values.every(value => Math.abs(value) < 1e6))
      throw new RangeError(`The link has ${values.length} weights, but this network has ${count}: copy the link again.`);
    let at = 0;
    for (let l = 0; l + 1 < sizes.length; l++)
      for (const [tensor, length] of [sizes[l] * sizes[l + 1], sizes[l + 1]].entries())
        this.engine.set(l, tensor, Float32Array.from(values.slice(at, at += length)));
  }

  // Change one number of a tensor: 0 the weights of a layer, 1 its biases.
  set({ layer, tensor, at, value }) {
    const values = this.engine.get(layer, tensor);
    values[at] = value;
    this.engine.set(layer, tensor, values);
  }

  // Return all that the page draws: columns of a layer (-1: the inputs) over the map or the curve, what each neuron
  // computes on a coarser grid, weights, and the progress. `ranges` are those of the inputs of a saved model.
  look({ layer, columns, ranges }) {
    const { engine, sizes, losses, times, failed, numbers } = this;
    const outputs = (x, which) => which < 0 ? x : engine.predict(x, which);
    const [grid, coarse] = (this.inputs === 1 ? [LINE, SMALL_LINE] : [MAP, SMALL_MAP]).map(x => this.inputsAt(x, ranges));
    const values = outputs(grid, layer);
    const stride = Math.ceil(losses.length / MOST_LOSSES);
    return {
      values: columnsOf(values, sizes[layer + 1], columns),
      neurons: sizes.map((size, k) => columnsOf(outputs(coarse, k - 1), size, [...Array(Math.min(size, MOST_NODES)).keys()])),
      tensors: sizes.slice(1).map((_, k) => [engine.get(k, 0), engine.get(k, 1)]),
      epoch: losses.length, losses: losses.filter((_, k) => k % stride === 0), last: losses.at(-1) ?? [NaN, NaN],
      accuracy: this.accuracy(), time: times.reduce((sum, each) => sum + each, 0) / times.length, failed, numbers,
    };
  }

  // The features of a grid, or the grid in the ranges of a saved model.
  inputsAt(grid, ranges) {
    if (!ranges) return featured(grid, this.inputs, this.features);
    return grid.map((value, k) => {
      const [low, high] = ranges[k % ranges.length];
      return (low + high + value * (high - low)) / 2;
    });
  }

  // The share of examples whose class is predicted, not a number if there are no classes.
  accuracy() {
    const { x, t } = this.rows;
    if (!this.hasClasses || !t.length) return NaN;
    return this.engine.predict(x).reduce((sum, p, k) => sum + (+(p > 0.5) === t[k]), 0) / t.length;
  }
}
