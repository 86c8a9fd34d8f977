// The page of the playground: its form, its buttons, and the loop that asks the worker to train.
import { addressOf, change, chosenFeatures, offerData, offerFeatures, offerLayers, offerScenes, settingsIn, showTheme } from "./controls.js";
import { MOST } from "./engine.js";
import { valueAt } from "./grids.js";
import { nearestWeight, neuronAt, short } from "./pictures.js";
import { ask } from "./questions.js";
import { DATA, FEATURES, hasNumbers } from "./scenes.js";
import { element, offerViews, say, show, viewOf, weightAt } from "./show.js";

const ACTIVATIONS = ["tanh", "relu", "leaky_relu", "elu", "gelu", "silu", "softplus", "sigmoid", "identity"];
const LOSSES = { // by whether the targets are numbers or classes
  true: ["squared_error", "absolute_error", "huber", "quantile", "gaussian_nll"], false: ["binary_cross_entropy", "squared_error"],
};
const LOSS_TITLES = { quantile: "quantile (0.9)", gaussian_nll: "Gaussian, with variance" };
const OPTIMIZERS = { // the numbers are the library's defaults
  adam: [0.9, 0.999, 1e-8, 0], sgd: [0, 0, 0, 0], momentum: [0.9, 0, 0, 0], rmsprop: [0.99, 1e-8, 0, 0],
};
const CHUNK = 128; // rows, about, of a call of the kernels, between which the worker looks at the time
// When the worker returns: after some epochs or milliseconds; the page waits that long between two of its pictures.
const SPEEDS = {
  slow: { epochs: 1, milliseconds: Infinity, pause: 300 }, usual: { epochs: 4, milliseconds: 10, pause: 16 },
  fast: { epochs: Infinity, milliseconds: 100, pause: 1 },
};
const STEPS = { batch: { rows: 1, epochs: 1, milliseconds: 0 }, step: { rows: CHUNK, epochs: 1, milliseconds: Infinity } };
const CONTINUE = ["rate", "speed"]; // fields that a training goes on with when they change
const MOST_BYTES = 1e7; // of a file: a network that can be drawn has a megabyte at most
const LARGEST = 100; // step size and penalties: with larger ones every training diverges in its first steps
const MOST_WEIGHTS = 1000; // of a link, which browsers and mails cut off if it is long
const NEAR = 8; // pixels between the pointer and the line of a weight
const MOVES = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] };

const form = element("options"), fields = form.elements, map = element("map"), ranges = element("ranges");
// `network` is the one that the worker has, null while it makes one; `picture` was drawn last; `hovered` is the neuron
// under the pointer; `running` differs for each run; `weights` are those of a link, until the form changes.
const state = { scene: "", points: [], cursor: null, seed: 1, sample: 1, weights: null, network: null, picture: null, hovered: null, running: null };

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
function numberIn(name, title, example, { least = 0, most = LARGEST, open = false, whole = false } = {}) {
  const text = fields[name].value, value = Number(text);
  if (text && (open ? value > least : value >= least) && value <= most && (!whole || Number.isInteger(value))) return value;
  const kind = whole ? "a whole number" : "a number";
  const range = open ? `above ${least} and at most ${most}` : `from ${least} to ${most}`;
  throw new RangeError(`${title} is "${text}": write ${kind} ${range}, such as ${example}.`);
}

const stepSize = () => numberIn("rate", "The step size", 0.01, { open: true });

// The settings of the form, as `Trainer.make` takes them.
function settings() {
  const { data, layers, activation, loss, optimizer } = Object.fromEntries(Array.from(fields, each => [each.name, each.value]));
  const whole = { least: 1, most: MOST.rows, whole: true };
  const features = chosenFeatures(fields.features.value, DATA[data].inputs);
  const sizes = [features.length, ...hiddenLayers(layers), loss === "gaussian_nll" ? 2 : 1];
  const dropout = numberIn("dropout", "Dropout", 0.1, { most: 0.9 });
  const hidden = value => sizes.slice(1, -1).map(() => value);
  stepSize();
  return {
    data, noise: Number(fields.noise.value), own: state.points, sample: state.sample, features, sizes, seed: state.seed,
    points: numberIn("points", "The number of points", 256, whole), fresh: numberIn("tests", "The number of new points", 256, whole),
    activations: hidden(activation), dropout: hidden(dropout), loss, optimizer, hyper: OPTIMIZERS[optimizer],
    weights: state.weights, batch: numberIn("batch", "The batch", 32, whole), l1: numberIn("l1", "l1", 0.001), l2: numberIn("l2", "l2", 0.001),
  };
}

function pause() {
  state.running = null;
  element("run").textContent = "Run";
}

// Run an action; an error ends the training, and becomes a message.
async function attempt(action) {
  try {
    return await action();
  } catch (error) {
    pause();
    say(error.message);
    return null;
  }
}

// Ask the worker for a network, and show it, unless another was asked for meanwhile. `describe` makes the description
// of the network from the answer.
let asked, making;
async function begin(command, options, describe) {
  const mine = asked = {};
  const answer = await attempt(() => ask(command, options));
  if (!answer || mine !== asked) return;
  state.network = describe(answer);
  offerViews(state.network);
  await draw();
}

// Keep the settings in the address, if the browser lets the page change it: Safari does so 100 times in ten seconds, and
// an embedded page may have no address.
function remember() {
  try {
    history.replaceState(null, "", addressOf(state, fields));
  } catch { /* the link stays as it was */ }
}

// Start again; say what is wrong with the form.
function reset() {
  pause();
  state.network = state.hovered = null;
  asked = null;
  for (const name of ["choices", "run", "batch", "step"]) element(name).disabled = false;
  element("smaller").hidden = ranges.hidden = true;
  element("layers").hidden = false;
  element("file").value = "";
  remember();
  let options;
  try {
    options = settings();
  } catch (error) {
    return say(error.message);
  }
  state.weights = null;
  const { data, features, sizes, loss } = options, { inputs, title } = DATA[data], isOwn = data === "own";
  offerFeatures(element("features"), fields.features, inputs);
  offerLayers(element("layers"), fields.layers, sizes.slice(1, -1));
  for (const each of element("data").children) each.setAttribute("aria-pressed", each.dataset.name === data);
  element("class").hidden = !isOwn;
  map.tabIndex = isOwn ? 0 : -1;
  map.setAttribute("role", isOwn ? "application" : "img");
  say(isOwn && !state.points.length ? "Add points: click the map, or move the frame by the arrow keys and press Enter." : "");
  const names = features.map(name => FEATURES[name][0]);
  making = begin("make", options, points => ({ title, sizes, loss, inputs, names, hasNumbers: hasNumbers(data), ranges: null, ...points }));
}

// Show the network; calls while it is drawn become one more drawing.
let isStale = false, drawing = null;
function draw() {
  isStale = true;
  return drawing ??= attempt(drawAll).finally(() => { drawing = null; });
}

async function drawAll() {
  while (isStale) {
    isStale = false;
    const { network, hovered } = state;
    if (!network) return;
    const view = viewOf(network, hovered);
    state.picture = await ask("look", view);
    if (network === state.network) show(network, state.picture, view, fields.data.value === "own" ? state.cursor : null);
  }
}

async function train(pace, notes) {
  await making;
  if (!state.network?.rows.t.length) return pause();
  await attempt(() => ask("train", { rate: stepSize(), notes, ...pace }));
  await draw();
  if (state.network && state.picture.failed) diverged();
}

function diverged() {
  const rate = stepSize(), smaller = Number((rate / 10).toPrecision(2));
  pause();
  say(`The training diverged in epoch ${state.picture.epoch}. A step of size ${rate} jumps over the minimum and lands `
    + "farther from it than it started, so that the next slope, and the next step, are larger still.");
  Object.assign(element("smaller"), { hidden: false, textContent: `Start again with step size ${smaller}`, value: smaller });
}

async function run() {
  const mine = state.running = {};
  element("run").textContent = "Pause";
  while (state.running === mine) {
    const began = performance.now(), { pause: wait, ...pace } = SPEEDS[fields.speed.value];
    await train({ rows: CHUNK, ...pace }, false);
    await new Promise(done => setTimeout(done, Math.max(1, wait - (performance.now() - began))));
  }
}

function openScene() {
  const { scene, values: { task, chapter, ...values }, points, seed, sample, weights, unknown } = settingsIn(location.hash);
  for (const [field, value] of Object.entries(values)) if (field !== "loss") fields[field].value = value;
  offerLosses(values.loss);
  element("task").textContent = task;
  element("chapter").href = `course/${chapter}.html`;
  for (const link of document.querySelectorAll("nav a"))
    link.toggleAttribute("aria-current", link.hash === `#scene=${scene}`);
  Object.assign(state, { scene, seed, sample, weights });
  if (points.length) state.points = points;
  element("view").replaceChildren(); // the prediction is shown first
  reset();
  if (unknown.length) say(`The link has "${unknown[0]}", which is no setting of the playground: it is left out.`);
}

function addPoint(x, y) {
  if (state.network?.ranges || fields.data.value !== "own" || state.points.length >= 1000) return;
  state.points.push([x, y, Number(element("class").querySelector("select").value)]);
  reset();
}

// Draw the model in a file instead of training.
async function openModel(file) {
  if (!file) return;
  if (file.size > MOST_BYTES) return say(`The file cannot be drawn: it has ${file.size} bytes. Remedy: save a smaller network.`);
  pause();
  const before = state.network;
  state.network = null;
  const buffer = await file.arrayBuffer();
  await begin("open", { buffer }, model => {
    const inputs = model.sizes[0], title = `${model.title} ${model.sizes.join("-")}`, none = { x: [], t: [] };
    showModel(model, title);
    return { ...model, title, inputs, names: ["x1", "x2"].slice(0, inputs), hasNumbers: true, rows: none, fresh: null };
  });
  if (state.network) return;
  state.network = before; // the file is wrong
  element("file").value = "";
}

// Put the page in the mode that draws a saved model.
function showModel({ ranges: ends, activations, loss, sizes }, title) {
  for (const name of ["choices", "run", "batch", "step"]) element(name).disabled = true;
  element("smaller").hidden = element("class").hidden = element("layers").hidden = true;
  ranges.hidden = false;
  ranges.querySelectorAll("input").forEach((end, k) => {
    end.parentElement.hidden = k >= 2 * sizes[0];
    end.value = ends.flat()[k] ?? "";
  });
  element("view").replaceChildren();
  say(`${title}, ${[...new Set(activations)].join(", ") || "no hidden layer"}, ${loss.replaceAll("_", " ")}.`);
}

function changeRanges() {
  const { network } = state;
  const ends = [...ranges.querySelectorAll("input")].slice(0, 2 * network.inputs).map(end => end.value === "" ? NaN : Number(end.value));
  const found = network.ranges.map((_, k) => ends.slice(2 * k, 2 * k + 2));
  if (!found.every(([low, high]) => low < high && Math.abs(low) < 1e30 && Math.abs(high) < 1e30))
    return say("A range must go from a number to a larger one, such as -1 to 1.");
  network.ranges = found;
  say("");
  draw();
}

// What is under the pointer in the picture of the network: a neuron, or a weight that is near.
function under(event) {
  const canvas = event.target, scale = canvas.width / canvas.clientWidth;
  const at = [canvas, state.network.sizes, event.offsetX * scale, event.offsetY * scale];
  const neuron = neuronAt(...at), [distance, weight] = nearestWeight(...at);
  return { neuron, weight: neuron ? neuron[0] && `${neuron[0] - 1} 1 ${neuron[1]}` : distance < NEAR && weight };
}

// Choose the weight or bias under the pointer, to be changed.
function chooseWeight(event) {
  const { weight } = state.network ? under(event) : {};
  if (!weight) return;
  element("edge").value = weight;
  draw();
  element("weight").focus();
}

// Show what the neuron under the pointer computes, and the number of the weight or bias.
function hover(event) {
  if (!state.network || !state.picture) return;
  const { neuron, weight } = event.type === "pointerleave" ? {} : under(event), before = state.hovered;
  state.hovered = neuron ? `${neuron[0] - 1} ${neuron[1]}` : null;
  event.target.title = weight ? `${weight.split(" ")[1] === "1" ? "bias" : "weight"} ${short(weightAt(state.picture, weight))}` : "";
  if (state.hovered !== before) draw();
}

// Set the chosen weight to the number in its field.
async function changeWeight({ target: { value: text } }) {
  const [layer, tensor, at] = element("edge").value.split(" ").map(Number), value = Number(text);
  if (text === "" || !(Math.abs(value) < 1e6)) return say("A weight is a number between -1e6 and 1e6, such as 0.5.");
  say("");
  await attempt(() => ask("set", { layer, tensor, at, value }));
  await draw();
}

function changeForm({ target }) {
  if (CONTINUE.includes(target.name) && state.network && !state.picture?.failed) return remember();
  if (target === fields.data) {
    offerLosses();
    fields.features.value = "";
  }
  reset();
}

function moveCursor(event) {
  if (fields.data.value !== "own" || state.network?.ranges || !(event.key in MOVES || event.key === "Enter")) return;
  event.preventDefault();
  state.cursor ??= [0, 0];
  if (event.key === "Enter") return addPoint(...state.cursor);
  state.cursor = state.cursor.map((at, k) => Math.min(1.1, Math.max(-1.1, at + MOVES[event.key][k])));
  draw();
}

async function copyLink() {
  const weights = element("trained").checked && !state.network?.ranges && state.picture?.tensors.flat().flatMap(values => Array.from(values));
  if (weights.length > MOST_WEIGHTS)
    return say(`The network has ${weights.length} weights, and a link at most ${MOST_WEIGHTS}: take smaller layers.`);
  const link = weights ? new URL(addressOf(state, fields, weights), location.href).href : location.href;
  try {
    await navigator.clipboard.writeText(link);
    say("The link is copied.");
  } catch {
    say("The link is the address of this page, with its settings: copy it from there.");
  }
}

function listen() {
  const on = (id, type, act) => element(id).addEventListener(type, act);
  addEventListener("hashchange", openScene);
  for (const each of [form, ranges]) each.addEventListener("submit", event => event.preventDefault());
  form.addEventListener("change", changeForm);
  on("run", "click", () => state.running ? pause() : run());
  for (const [name, pace] of Object.entries(STEPS)) on(name, "click", () => { pause(); train(pace, true); });
  on("reset", "click", () => { state.seed++; reset(); });
  on("redraw", "click", () => { state.sample++; reset(); });
  on("close", "click", () => { reset(); element("file").focus(); });
  for (const name of ["view", "fresh", "discrete", "edge"]) on(name, "change", draw);
  on("network", "click", chooseWeight);
  for (const type of ["pointermove", "pointerleave"]) on("network", type, hover);
  on("weight", "change", changeWeight);
  on("theme", "click", () => { showTheme(true); draw(); });
  on("copy", "click", copyLink);
  on("file", "change", event => openModel(event.target.files[0]));
  ranges.addEventListener("change", changeRanges);
  on("smaller", "click", ({ target }) => { change(fields.rate, target.value); reset(); element("run").focus(); });
  on("map", "click", event => addPoint(valueAt(event.offsetX / map.clientWidth), -valueAt(event.offsetY / map.clientHeight)));
  on("map", "keydown", moveCursor);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { showTheme(); draw(); });
}

fill(fields.data, Object.keys(DATA), Object.fromEntries(Object.entries(DATA).map(([name, { title }]) => [name, title])));
fill(fields.activation, ACTIVATIONS);
fill(fields.optimizer, Object.keys(OPTIMIZERS), { sgd: "gradient descent", adam: "Adam", rmsprop: "RMSprop" });
fill(fields.speed, Object.keys(SPEEDS));
showTheme();
offerData(element("data"), fields.data);
offerScenes(element("scenes").querySelectorAll("a"));
listen();
openScene();
document.body.dataset.ready = "yes";
