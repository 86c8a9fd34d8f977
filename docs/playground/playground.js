// The page of the playground: its controls, and the loop that trains and draws.
import { load } from "./engine.js";
import { drawCurve, drawLosses, drawMap, drawNetwork, valueAt } from "./pictures.js";
import { DATA, numbers, rowsOf, SCENES } from "./scenes.js";

const ACTIVATIONS = ["tanh", "relu", "leaky_relu", "elu", "gelu", "silu", "softplus", "sigmoid", "identity"];
const LOSSES = { 1: ["squared_error", "absolute_error", "huber"], 2: ["binary_cross_entropy", "squared_error"] };
const OPTIMIZERS = { // the numbers are the library's defaults
  adam: [0.9, 0.999, 1e-8, 0], sgd: [0, 0, 0, 0], momentum: [0.9, 0, 0, 0], rmsprop: [0.99, 1e-8, 0, 0],
};
const FRAME = 10, MOST_EPOCHS = 4; // milliseconds, and epochs, of training before each drawing: to be watched
const FAR = 1e6; // a loss so many times the first has diverged, also if it is still a number
const STEPS = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] };

const element = id => document.getElementById(id);
const form = element("options"), fields = form.elements, map = element("map");
const state = { points: [], cursor: null, seed: 0, running: false, rows: null, sizes: null, losses: [] };
let engine;

const say = text => { element("message").textContent = text; };
const isCurve = () => DATA[fields.data.value].inputs === 1;

function fill(select, names, titles = {}) {
  select.replaceChildren(...names.map(name => new Option(titles[name] ?? name.replaceAll("_", " "), name)));
}

// Offer the losses that fit the data, and keep the chosen one if it does.
function offerLosses(wanted = fields.loss.value) {
  const names = LOSSES[DATA[fields.data.value].inputs];
  fill(fields.loss, names);
  fields.loss.value = names.includes(wanted) ? wanted : names[0];
}

// The sizes of the hidden layers in a text such as "8, 8".
function hiddenLayers(text) {
  const sizes = text.split(/[\s,;]+/).filter(Boolean).map(Number);
  if (sizes.length > 6 || !sizes.every(size => Number.isInteger(size) && size >= 1 && size <= 128))
    throw new RangeError(`Hidden layers are "${text}": write up to 6 whole numbers from 1 to 128, such as 8, 8.`);
  return sizes;
}

function stepSize() {
  const rate = Number(fields.rate.value);
  if (!(rate > 0 && rate < 1e30))
    throw new RangeError(`The step size is "${fields.rate.value}": write a number above 0, such as 0.01.`);
  return rate;
}

function pause() {
  state.running = false;
  element("run").textContent = "Run";
}

// Make the network of the form, with first weights drawn from the seed; say what is wrong with the form.
function reset() {
  pause();
  try {
    const { data, noise, layers, activation, loss, optimizer, batch } =
      Object.fromEntries(Array.from(fields, field => [field.name, field.value]));
    const sizes = [DATA[data].inputs, ...hiddenLayers(layers), 1];
    stepSize();
    engine.make(sizes, { activation, loss, optimizer, hyper: OPTIMIZERS[optimizer], batch: Number(batch) });
    const draw = numbers(state.seed);
    for (let l = 0; l + 1 < sizes.length; l++) {
      const limit = Math.sqrt(6 / (sizes[l] + sizes[l + 1])); // Glorot and Bengio 2010
      engine.set(l, 0, Float32Array.from({ length: sizes[l] * sizes[l + 1] }, () => limit * (2 * draw() - 1)));
    }
    const rows = rowsOf(data, Number(noise), state.points);
    const order = BigInt64Array.from(rows.t, (_, k) => BigInt(k));
    Object.assign(state, { rows, order, sizes, losses: [], failed: false });
  } catch (error) {
    state.rows = null; // until the form is right
    return say(error.message);
  }
  const isOwn = fields.data.value === "own";
  element("class").hidden = !isOwn;
  map.tabIndex = isOwn ? 0 : -1;
  map.setAttribute("role", isOwn ? "application" : "img");
  element("smaller").hidden = true;
  say(state.rows.t.length ? "" : "Add points: click the map, or move the frame by the arrow keys and press Enter.");
  draw();
}

// Train for an epoch; false if there is nothing to train, or the training diverged.
function train() {
  if (!state.rows?.t.length || state.failed) return false;
  const rate = stepSize();
  const loss = engine.train(state.rows.x, state.rows.t, state.order, rate, state.losses.length);
  const first = state.losses[0] ?? loss;
  state.failed = !(loss <= FAR * Math.max(first, 1e-3));
  if (Number.isFinite(loss)) state.losses.push(loss);
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

function accuracy() {
  const { x, t } = state.rows;
  const right = engine.predict(x).reduce((sum, p, k) => sum + (+(p > 0.5) === t[k]), 0);
  return `${(100 * right / t.length).toFixed(1)} %`;
}

function draw() {
  if (!state.rows) return;
  const predict = x => engine.predict(x);
  if (isCurve()) drawCurve(map, predict, state.rows);
  else drawMap(map, predict, state.rows, fields.data.value === "own" ? state.cursor : null);
  drawNetwork(element("network"), state.sizes, state.sizes.slice(1).map((_, layer) => engine.get(layer, 0)));
  drawLosses(element("losses"), state.losses);
  element("epoch").textContent = state.losses.length;
  element("loss").textContent = state.losses.length ? state.losses.at(-1).toPrecision(4) : "-";
  element("accuracy").textContent = isCurve() || !state.rows.t.length ? "-" : accuracy();
  element("legend").textContent = isCurve()
    ? "Points are the examples, the curve is the network's prediction."
    : "Points are the examples; the shade is the prediction, blue for class 1 and orange for class 0.";
  map.setAttribute("aria-label", `${DATA[fields.data.value].title}: ${element("legend").textContent}`);
}

function loop() {
  if (!state.running) return;
  const until = performance.now() + FRAME;
  try {
    for (let k = 0; k < MOST_EPOCHS && state.running && performance.now() < until; k++)
      if (!train()) pause();
  } catch (error) {
    pause();
    say(error.message);
  }
  draw();
  setTimeout(loop, 1000 / 60);
}

function openScene() {
  const name = location.hash.replace("#scene=", "");
  const { task, ...values } = SCENES[name] ?? SCENES.xor;
  for (const [field, value] of Object.entries(values)) if (field !== "loss") fields[field].value = value;
  offerLosses(values.loss);
  element("task").textContent = task;
  for (const link of document.querySelectorAll("nav a"))
    link.toggleAttribute("aria-current", link.hash === `#scene=${name}`);
  state.seed = 1;
  reset();
}

function addPoint(x, y) {
  if (fields.data.value !== "own" || state.points.length >= 1000) return;
  state.points.push([x, y, Number(element("class").querySelector("select").value)]);
  reset();
}

function listen() {
  addEventListener("hashchange", openScene);
  form.addEventListener("submit", event => event.preventDefault());
  form.addEventListener("change", event => {
    if (event.target === fields.data) offerLosses();
    if (event.target !== fields.rate || state.failed || !state.rows) reset(); // a new step size continues
  });
  element("run").addEventListener("click", () => {
    if (state.running) return pause();
    state.running = true;
    element("run").textContent = "Pause";
    loop();
  });
  element("step").addEventListener("click", () => {
    pause();
    try { train(); } catch (error) { return say(error.message); }
    draw();
  });
  element("reset").addEventListener("click", () => { state.seed++; reset(); });
  element("smaller").addEventListener("click", event => {
    fields.rate.value = event.target.value;
    reset();
    element("run").focus();
  });
  map.addEventListener("click", event =>
    addPoint(valueAt(event.offsetX / map.clientWidth), -valueAt(event.offsetY / map.clientHeight)));
  map.addEventListener("keydown", event => {
    if (fields.data.value !== "own" || !(event.key in STEPS || event.key === "Enter")) return;
    event.preventDefault();
    state.cursor ??= [0, 0];
    if (event.key === "Enter") return addPoint(...state.cursor);
    state.cursor = state.cursor.map((at, k) => Math.min(1.1, Math.max(-1.1, at + STEPS[event.key][k])));
    draw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}

try {
  const answer = await fetch(new URL("play.wasm", import.meta.url));
  if (!answer.ok) throw new Error(`play.wasm: ${answer.status}`);
  engine = await load(await answer.arrayBuffer());
  fill(fields.data, Object.keys(DATA), Object.fromEntries(Object.entries(DATA).map(([name, { title }]) => [name, title])));
  fill(fields.activation, ACTIVATIONS);
  fill(fields.optimizer, Object.keys(OPTIMIZERS), { sgd: "gradient descent", adam: "Adam", rmsprop: "RMSprop" });
  listen();
  openScene();
  document.body.dataset.ready = "yes";
} catch (error) {
  say(`The playground needs a browser with WebAssembly SIMD, and its files: ${error.message}`);
}
