// The page of the playground: its controls, and the loop that trains.
import { load, MOST } from "./engine.js";
import { read } from "./models.js";
import { addressOf, change, chosenFeatures, offerData, offerFeatures, offerLayers, settingsIn, showTheme } from "./controls.js";
import { nearestWeight, valueAt } from "./pictures.js";
import { DATA, featured, FEATURES, hasNumbers, numbers, rowsOf } from "./scenes.js";
import { choose, element, offerViews, say, show, state } from "./show.js";

const ACTIVATIONS = ["tanh", "relu", "leaky_relu", "elu", "gelu", "silu", "softplus", "sigmoid", "identity"];
const LOSSES = { // by whether the targets are numbers or classes
  true: ["squared_error", "absolute_error", "huber", "quantile", "gaussian_nll"], false: ["binary_cross_entropy", "squared_error"],
};
const LOSS_TITLES = { quantile: "quantile (0.9)", gaussian_nll: "Gaussian, with variance" };
const OPTIMIZERS = { // the numbers are the library's defaults
  adam: [0.9, 0.999, 1e-8, 0], sgd: [0, 0, 0, 0], momentum: [0.9, 0, 0, 0], rmsprop: [0.99, 1e-8, 0, 0],
};
const FRAME = 10, MOST_EPOCHS = 4; // milliseconds, and epochs, of training before each drawing: to be watched
const CHUNK = 128; // rows, about, of a call of the kernels, so that a large network does not stop the page
const FAR = 1e6; // a loss so many times the first has diverged, also if it is still a number
const NEW = 256; // points that are not trained on
const MOST_BYTES = 1e7; // of a file: a network that can be drawn has a megabyte at most
const MOST_EDGES = 100; // weights and biases of which the table shows the numbers
const STEPS = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] };

const form = element("options"), fields = form.elements, map = element("map"), ranges = element("ranges");
let engine;

const inputs = () => DATA[fields.data.value].inputs;

function fill(select, names, titles = {}) {
  select.replaceChildren(...names.map(name => new Option(titles[name] ?? name.replaceAll("_", " "), name)));
}

// Offer the losses that fit the data, and keep the chosen one if it does.
function offerLosses(wanted = fields.loss.value) {
  const names = LOSSES[hasNumbers(fields.data.value)];
  fill(fields.loss, names, LOSS_TITLES);
  fields.loss.value = names.includes(wanted) ? wanted : names[0];
}

// The sizes of the hidden layers in a text such as "8, 8".
function hiddenLayers(text) {
  const sizes = text.split(/[\s,;]+/).filter(Boolean).map(Number);
  if (sizes.length > 6 || !sizes.every(size => Number.isInteger(size) && size >= 1 && size <= MOST.neurons))
    throw new RangeError(`Hidden layers are "${text}": write up to 6 whole numbers from 1 to ${MOST.neurons}, such as 8, 8.`);
  return sizes;
}

// The number in a field, from `least` (which `open` excludes) to `most`.
function numberIn(name, title, example, { least = 0, most = 1e30, open = false, whole = false } = {}) {
  const text = fields[name].value, value = Number(text);
  if (text && (open ? value > least : value >= least) && value <= most && (!whole || Number.isInteger(value))) return value;
  const kind = whole ? "a whole number" : "a number";
  const range = most < 1e30 ? `from ${least} to ${most}` : `${open ? "above" : "of at least"} ${least}`;
  throw new RangeError(`${title} is "${text}": write ${kind} ${range}, such as ${example}.`);
}

const stepSize = () => numberIn("rate", "The step size", 0.01, { open: true });

function pause() {
  state.running = false;
  element("run").textContent = "Run";
}

// Run an action of the page; an error becomes a message, and ends the training.
function attempt(action) {
  try {
    return action();
  } catch (error) {
    pause();
    say(error.message);
    return false;
  }
}

// Make the network of the form, with first weights drawn from the seed.
function build() {
  const { data, layers, activation, loss, optimizer } = Object.fromEntries(Array.from(fields, each => [each.name, each.value]));
  const whole = { least: 1, most: MOST.rows, whole: true };
  const features = chosenFeatures(fields.features.value, inputs());
  const sizes = [features.length, ...hiddenLayers(layers), loss === "gaussian_nll" ? 2 : 1];
  const dropout = numberIn("dropout", "Dropout", 0.1, { most: 0.9 });
  stepSize();
  const hidden = value => sizes.slice(1, -1).map(() => value);
  const fed = rows => ({ ...rows, raw: rows.x, x: featured(rows.x, inputs(), features) });
  const rows = fed(rowsOf(data, Number(fields.noise.value), state.points, numberIn("points", "The number of points", 256, whole)));
  engine.make(sizes, {
    activations: hidden(activation), dropout: hidden(dropout), loss, optimizer, hyper: OPTIMIZERS[optimizer],
    batch: numberIn("batch", "The batch", 32, whole), l2: numberIn("l2", "l2", 0.001), seed: BigInt(state.seed),
  });
  const draw = numbers(state.seed);
  for (let l = 0; l + 1 < sizes.length; l++) {
    const limit = Math.sqrt(6 / (sizes[l] + sizes[l + 1])); // Glorot and Bengio 2010
    engine.set(l, 0, Float32Array.from({ length: sizes[l] * sizes[l + 1] }, () => limit * (2 * draw() - 1)));
  }
  const fresh = DATA[data].row && fed(rowsOf(data, Number(fields.noise.value), [], NEW, 8));
  const names = features.map(name => FEATURES[name][0]);
  Object.assign(state, { model: null, loss, rows, fresh, sizes, losses: [], trained: 0, failed: false, numbers: null, times: [] });
  Object.assign(state, { features, names, inputs: inputs(), hasNumbers: hasNumbers(data), spent: 0 });
}

// Start again; say what is wrong with the form.
function reset() {
  pause();
  state.rows = null; // until the form is right
  for (const name of ["choices", "run", "batch", "step"]) element(name).disabled = false;
  ranges.hidden = true;
  element("file").value = "";
  history.replaceState(null, "", addressOf(state.scene, fields, state.points, state.seed));
  if (attempt(build) === false) return;
  offerFeatures(element("features"), fields.features, inputs());
  offerLayers(element("layers"), fields.layers, state.sizes.slice(1, -1));
  for (const each of element("data").children) each.setAttribute("aria-pressed", each.dataset.name === fields.data.value);
  const isOwn = fields.data.value === "own";
  state.title = DATA[fields.data.value].title;
  element("class").hidden = !isOwn;
  map.tabIndex = isOwn ? 0 : -1;
  map.setAttribute("role", isOwn ? "application" : "img");
  element("smaller").hidden = true;
  say(state.rows.t.length ? "" : "Add points: click the map, or move the frame by the arrow keys and press Enter.");
  offerViews();
  draw();
}

const draw = () => show(engine, fields.data.value === "own" ? state.cursor : null);

// Note the numbers of a batch before and after `step`: of each weight and bias the derivative, and of a batch of one
// point its two factors.
function noted(order, rate, step) {
  const { sizes, rows } = state;
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
  state.numbers = { edges, rate, size: order.length };
  return result;
}

// Train on the next rows of the epoch, at most so many; false if there is nothing to train, or the training diverged.
function train(most = Infinity) {
  const { rows, sizes, losses } = state;
  const n = rows?.t.length;
  if (!n || state.failed) return false;
  const rate = stepSize();
  if (!state.trained) Object.assign(state, { order: engine.shuffled(n, losses.length), sum: 0 });
  const order = state.order.slice(state.trained, state.trained + most);
  const step = () => engine.train(rows.x, rows.t, order, rate);
  const weights = sizes.slice(1).reduce((sum, size, k) => sum + size * (sizes[k] + 1), 0);
  state.numbers = null;
  const started = performance.now();
  const loss = order.length <= engine.batch && weights <= MOST_EDGES && !state.running ? noted(order, rate, step) : step();
  const first = losses[0]?.[0] ?? loss;
  state.failed = !(loss <= FAR * Math.max(first, 1e-3));
  state.sum += loss * order.length;
  state.trained += order.length;
  state.spent += performance.now() - started;
  const mean = state.sum / state.trained;
  if (state.trained === n || state.failed) {
    state.times = [...state.times.slice(-49), state.spent];
    state.trained = state.spent = 0;
    if (Number.isFinite(loss))
      losses.push([mean, state.fresh ? engine.evaluate(state.fresh.x, state.fresh.t) : NaN]);
  }
  if (state.failed) diverged(rate);
  return !state.failed;
}

function diverged(rate) {
  const smaller = Number((rate / 10).toPrecision(2));
  pause();
  say(`The training diverged in epoch ${state.losses.length}. A step of size ${rate} jumps over the minimum and lands `
    + "farther from it than it started, so that the next slope, and the next step, are larger still.");
  Object.assign(element("smaller"), { hidden: false, textContent: `Start again with step size ${smaller}`, value: smaller });
}

function loop() {
  if (!state.running) return;
  const began = performance.now(), before = state.losses.length, chunk = engine.batch * Math.ceil(CHUNK / engine.batch);
  while (state.running && performance.now() < began + FRAME && state.losses.length < before + MOST_EPOCHS)
    if (!attempt(() => train(chunk))) pause();
  draw();
  setTimeout(loop, Math.max(1, 1000 / 60 - (performance.now() - began)));
}

function openScene() {
  const { scene, values: { task, chapter, ...values }, points, seed } = settingsIn(location.hash);
  for (const [field, value] of Object.entries(values)) if (field !== "loss") fields[field].value = value;
  offerLosses(values.loss);
  element("task").textContent = task;
  element("chapter").href = `course/${chapter}.html`;
  for (const link of document.querySelectorAll("nav a"))
    link.toggleAttribute("aria-current", link.hash === `#scene=${scene}`);
  Object.assign(state, { scene, seed });
  if (points.length) state.points = points;
  element("view").replaceChildren(); // the prediction is shown first
  reset();
}

function addPoint(x, y) {
  if (state.model || fields.data.value !== "own" || state.points.length >= 1000) return;
  state.points.push([x, y, Number(element("class").querySelector("select").value)]);
  reset();
}

// Draw the model in a file instead of training.
async function openModel(file) {
  if (!file) return;
  pause();
  try {
    if (file.size > MOST_BYTES) throw new RangeError(`The file cannot be drawn: it has ${file.size} bytes. Remedy: save a smaller network.`);
    const model = await read(await file.arrayBuffer());
    engine.make(model.sizes, { ...model, optimizer: "sgd", hyper: OPTIMIZERS.sgd, batch: 256 });
    model.weights.forEach((W, layer) => { engine.set(layer, 0, W); engine.set(layer, 1, model.biases[layer]); });
    const none = { x: [], raw: [], t: [] };
    Object.assign(state, { model, loss: model.loss, rows: none, fresh: null, sizes: model.sizes, losses: [], numbers: null, times: [] });
    Object.assign(state, { inputs: model.sizes[0], names: ["x1", "x2"].slice(0, model.sizes[0]), hasNumbers: true });
    state.title = `${model.title} ${model.sizes.join("-")}`;
  } catch (error) {
    element("file").value = "";
    return say(error.message);
  }
  for (const name of ["choices", "run", "batch", "step"]) element(name).disabled = true;
  element("smaller").hidden = element("class").hidden = true;
  ranges.hidden = false;
  const ends = [...ranges.querySelectorAll("input")];
  ends.forEach((end, k) => {
    end.parentElement.hidden = k >= 2 * state.sizes[0];
    end.value = state.model.ranges.flat()[k] ?? "";
  });
  element("view").replaceChildren();
  say(`${state.title}, ${[...new Set(state.model.activations)].join(", ") || "no hidden layer"}, ${state.loss.replaceAll("_", " ")}.`);
  offerViews();
  draw();
}

function changeRanges() {
  const ends = [...ranges.querySelectorAll("input")].slice(0, 2 * state.sizes[0]).map(end => end.value === "" ? NaN : Number(end.value));
  const found = state.model.ranges.map((_, k) => ends.slice(2 * k, 2 * k + 2));
  if (!found.every(([low, high]) => low < high && Math.abs(low) < 1e30 && Math.abs(high) < 1e30))
    return say("A range must go from a number to a larger one, such as -1 to 1.");
  state.model.ranges = found;
  say("");
  draw();
}

function listen() {
  addEventListener("hashchange", openScene);
  for (const each of [form, ranges]) each.addEventListener("submit", event => event.preventDefault());
  form.addEventListener("change", event => {
    if (event.target === fields.data) {
      offerLosses();
      fields.features.value = "";
    }
    if (event.target !== fields.rate || state.failed || !state.rows) reset(); // a new step size continues
  });
  element("run").addEventListener("click", () => {
    if (state.running) return pause();
    state.running = true;
    element("run").textContent = "Pause";
    loop();
  });
  const step = most => () => {
    pause();
    attempt(() => train(most()));
    draw();
  };
  element("batch").addEventListener("click", step(() => engine.batch));
  element("step").addEventListener("click", step(() => Infinity));
  element("reset").addEventListener("click", () => { state.seed++; reset(); });
  element("close").addEventListener("click", () => { reset(); element("file").focus(); });
  for (const name of ["view", "fresh", "edge"]) element(name).addEventListener("change", draw);
  element("network").addEventListener("click", event => {
    const canvas = event.target, scale = canvas.width / canvas.clientWidth;
    choose(nearestWeight(canvas, state.sizes, event.offsetX * scale, event.offsetY * scale));
    draw();
    element("weight").focus();
  });
  element("weight").addEventListener("change", event => {
    const [layer, isBias, at] = element("edge").value.split(" ").map(Number), value = Number(event.target.value);
    if (event.target.value === "" || !(Math.abs(value) < 1e6)) return say("A weight is a number between -1e6 and 1e6, such as 0.5.");
    say("");
    const tensor = engine.get(layer, isBias);
    tensor[at] = value;
    engine.set(layer, isBias, tensor);
    draw();
  });
  element("theme").addEventListener("click", () => { showTheme(true); draw(); });
  element("copy").addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(location.href);
      say("The link is copied.");
    } catch { say("The link is the address of this page, with its settings: copy it from there."); }
  });
  element("file").addEventListener("change", event => openModel(event.target.files[0]));
  ranges.addEventListener("change", changeRanges);
  element("smaller").addEventListener("click", event => {
    change(fields.rate, event.target.value);
    reset();
    element("run").focus();
  });
  map.addEventListener("click", event =>
    addPoint(valueAt(event.offsetX / map.clientWidth), -valueAt(event.offsetY / map.clientHeight)));
  map.addEventListener("keydown", event => {
    if (fields.data.value !== "own" || state.model || !(event.key in STEPS || event.key === "Enter")) return;
    event.preventDefault();
    state.cursor ??= [0, 0];
    if (event.key === "Enter") return addPoint(...state.cursor);
    state.cursor = state.cursor.map((at, k) => Math.min(1.1, Math.max(-1.1, at + STEPS[event.key][k])));
    draw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { showTheme(); draw(); });
}

try {
  const answer = await fetch(new URL("play.wasm", import.meta.url));
  if (!answer.ok) throw new Error(`play.wasm: ${answer.status}`);
  engine = await load(await answer.arrayBuffer());
  fill(fields.data, Object.keys(DATA), Object.fromEntries(Object.entries(DATA).map(([name, { title }]) => [name, title])));
  fill(fields.activation, ACTIVATIONS);
  fill(fields.optimizer, Object.keys(OPTIMIZERS), { sgd: "gradient descent", adam: "Adam", rmsprop: "RMSprop" });
  showTheme();
  offerData(element("data"), fields.data);
  listen();
  openScene();
  document.body.dataset.ready = "yes";
} catch (error) {
  say(`The playground needs a browser with WebAssembly SIMD, and its files: ${error.message}`);
}
