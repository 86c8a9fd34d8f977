// The results of the page: pictures, numbers, and what they show.
import { drawCurve, drawLosses, drawMap, drawNetwork, LINE, MAP, short, SMALL_LINE, SMALL_MAP } from "./pictures.js";
import { featured } from "./scenes.js";

const MOST_SHOWN = 10; // neurons of a layer that can be chosen

export const element = id => document.getElementById(id);
export const say = text => { element("message").textContent = text; };
// The network, its data, and the state of the training; `model` is a saved model that is drawn instead, or null.
export const state = { points: [], cursor: null, seed: 0, running: false, rows: null, sizes: null, losses: [], model: null };

const isClasses = () => /cross_entropy/.test(state.loss);
const isCurve = () => state.inputs === 1;
const outputs = () => state.loss === "gaussian_nll" ? state.sizes.at(-1) / 2 : state.sizes.at(-1);

// Offer the predictions, and each neuron of the hidden layers, to be shown.
export function offerViews() {
  const names = isClasses() ? ["probability of class"] : ["prediction"];
  const many = isClasses() && outputs() > 1 && !isCurve() ? [["most probable class", "output all"]] : [];
  const views = [...many, ...Array.from({ length: outputs() }, (_, k) => {
    const label = isClasses() ? ` ${outputs() > 1 ? k : 1}` : outputs() > 1 ? ` ${k + 1}` : "";
    return [names[0] + label, `output ${k}`];
  })];
  state.sizes.slice(1, -1).forEach((size, layer) => {
    for (let k = 0; k < Math.min(size, MOST_SHOWN); k++) views.push([`neuron ${k + 1} of layer ${layer + 1}`, `${layer} ${k}`]);
  });
  const before = element("view").value;
  element("view").replaceChildren(...views.map(([title, value]) => new Option(title, value)));
  if (views.some(([, value]) => value === before)) element("view").value = before;
  offerWeights();
}

const MOST_CHOICES = 2000; // weights and biases that can be chosen by hand

// Offer the weights and biases; the value is layer, 1 for biases, and the place in the tensor.
function offerWeights() {
  const { sizes } = state;
  const before = element("edge").value, choices = [];
  for (let layer = 0; layer + 1 < sizes.length && choices.length < MOST_CHOICES; layer++) {
    const to = layer + 2 < sizes.length ? `layer ${layer + 1}` : "the output";
    for (let o = 0; o < sizes[layer + 1]; o++) {
      for (let i = 0; i < sizes[layer]; i++)
        choices.push([`${layer ? `neuron ${i + 1}` : state.names[i]} to neuron ${o + 1} of ${to}`, `${layer} 0 ${i * sizes[layer + 1] + o}`]);
      choices.push([`bias of neuron ${o + 1} of ${to}`, `${layer} 1 ${o}`]);
    }
  }
  element("edge").replaceChildren(...choices.slice(0, MOST_CHOICES).map(([title, value]) => new Option(title, value)));
  choose(before);
}

// Choose a weight or bias, if there is one.
export function choose(value) {
  const { options } = element("edge");
  if ([...options].some(option => option.value === value)) element("edge").value = value;
}

// Inputs of the picture, from -1.15 to 1.15, in the ranges of a saved model.
function inRanges(x) {
  if (!state.model) return featured(x, state.inputs, state.features);
  const { ranges } = state.model;
  return x.map((value, k) => {
    const [low, high] = ranges[k % ranges.length];
    return (low + high + value * (high - low)) / 2;
  });
}

// The sets of points to be drawn: the examples, and new ones if the visitor wants them.
function drawn() {
  const fresh = element("fresh").checked && state.fresh ? [{ ...state.fresh, isNew: true }] : [];
  return [state.rows, ...fresh].map(rows => ({ ...rows, x: rows.raw, hasNumbers: state.hasNumbers }));
}

// What each neuron computes over the picture, by layers; the first layer has the inputs.
function neurons(engine) {
  const x = inRanges(isCurve() ? SMALL_LINE : SMALL_MAP);
  return state.sizes.map((size, k) => [size, k ? engine.predict(x, k - 1) : x]);
}

function showValues(engine, cursor) {
  const [from, which] = element("view").value.split(" "), isOutput = from === "output";
  const layer = isOutput ? state.sizes.length - 2 : Number(from);
  const inputs = isCurve() ? LINE : MAP;
  const found = engine.predict(inRanges(inputs), layer);
  const width = state.sizes[layer + 1];
  const rows = Array.from({ length: found.length / width }, (_, k) => found.subarray(k * width, (k + 1) * width));
  const values = rows.map(row => row[which === "all" ? 0 : Number(which)]);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const draws = isCurve() ? showCurve : showMap;
  element("legend").textContent = draws({ rows, values, low, high, which, isOutput }, cursor);
  element("map").setAttribute("aria-label", `${state.title}: ${element("legend").textContent}`);
}

function showMap({ rows, values, low, high, which, isOutput }, cursor) {
  const shown = drawn(), points = state.model ? "" : `Points are the examples${shown.length > 1 ? ", rings are new" : ""}; `;
  if (which === "all") {
    drawMap(element("map"), rows.map(row => {
      const best = row.indexOf(Math.max(...row));
      return [best, row[best]];
    }), shown, cursor);
    return "The color is the most probable class, dark where it is sure.";
  }
  const isNumber = isOutput && !state.model && state.hasNumbers;
  const isShare = isOutput && !isNumber && (isClasses() || !state.model);
  const [from, to] = isShare ? [0, 1] : isNumber ? [-1, 1] : [low, high];
  drawMap(element("map"), values.map(value => {
    const share = (value - from) / (to - from || 1);
    return [+(share > 0.5), 2 * Math.abs(share - 0.5)];
  }), shown, cursor);
  if (isNumber) return "Points are the examples; the shade is the prediction, from -1 (orange) to 1 (blue), as the color of the points is.";
  const axes = state.model ? ` ${state.model.ranges.map(([a, b], k) => `x${k + 1} goes from ${a} to ${b}`).join(", ")}.` : "";
  if (isShare) return `${points}${points ? "the" : "The"} shade is the prediction, blue for class 1 and orange for class 0.${axes}`;
  return `${points}${points ? "the" : "The"} shade goes from ${short(low)} (orange) to ${short(high)} (blue).${axes}`;
}

function showCurve({ rows, values, low, high, which, isOutput }) {
  let deviations = isOutput && state.loss === "gaussian_nll" ? rows.map(row => Math.sqrt(row[outputs() + Number(which)])) : null;
  const scales = state.model || !isOutput;
  if (deviations) {
    low = Math.min(...values.map((value, k) => value - 2 * deviations[k]));
    high = Math.max(...values.map((value, k) => value + 2 * deviations[k]));
  }
  const half = (high - low) / 2 || 1;
  const scaled = scales ? values.map(value => (value - low) / half - 1) : values;
  if (scales) deviations = deviations?.map(value => value / half);
  drawCurve(element("map"), scaled, deviations, scales && !state.model ? [] : drawn());
  const band = deviations ? ", the band is two standard deviations wide on each side" : "";
  if (!scales) return `Points are the examples, the curve is the network's prediction${band}.`;
  const [from, to] = state.model ? state.model.ranges[0] : [-1, 1];
  return `The curve from x = ${from} to ${to}: it goes from ${short(low)} (bottom) to ${short(high)} (top)${band}.`;
}

// The table of the last batch: the numbers of each weight and bias.
function showNumbers() {
  const { numbers } = state;
  element("numbers").hidden = !numbers;
  if (!numbers) return;
  const one = "of one point: dW is x times dz, and x is the neuron's output";
  element("about").textContent = `The last batch ${numbers.size === 1 ? one : `of ${numbers.size} points: dW is the mean of x times dz`}. `
    + `Gradient descent sets W to W - ${numbers.rate} dW; other optimizers change the step.`;
  element("numbers").querySelector("tbody").replaceChildren(...numbers.edges.map(edge => {
    const row = document.createElement("tr");
    const cells = [edge.layer + 1, edge.isBias ? "bias" : edge.i + 1, edge.o + 1];
    for (const text of [...cells, ...["x", "dz", "slope", "before", "after"].map(name => short(edge[name]))])
      row.insertCell().textContent = text;
    return row;
  }));
}

function accuracy(engine) {
  const { x, t } = state.rows;
  const right = engine.predict(x).reduce((sum, p, k) => sum + (+(p > 0.5) === t[k]), 0);
  return `${(100 * right / t.length).toFixed(1)} %`;
}

// Show all of the state.
export function show(engine, cursor) {
  if (!state.rows) return;
  const { losses, numbers, sizes } = state;
  showValues(engine, cursor);
  const texts = numbers && ((layer, i, o) => {
    const edge = numbers.edges.find(each => each.layer === layer && each.i === i && each.o === o);
    return [`W ${short(edge.after)}`, `dW ${short(edge.slope)}`];
  });
  drawNetwork(element("network"), sizes, sizes.slice(1).map((_, layer) => engine.get(layer, 0)), texts, neurons(engine), isCurve());
  const [layer, isBias, at] = element("edge").value.split(" ").map(Number);
  if (document.activeElement !== element("weight")) element("weight").value = short(engine.get(layer, isBias)[at]);
  showNumbers();
  drawLosses(element("losses"), losses);
  const last = losses.at(-1) ?? [NaN, NaN];
  const time = state.times.reduce((sum, each) => sum + each, 0) / state.times.length;
  element("epoch").textContent = losses.length;
  element("loss").textContent = last[0] === last[0] ? last[0].toPrecision(4) : "-";
  element("new").textContent = last[1] === last[1] ? last[1].toPrecision(4) : "-";
  element("accuracy").textContent = state.hasNumbers || !state.rows.t.length ? "-" : accuracy(engine);
  element("time").textContent = time >= 0 ? `${time.toPrecision(2)} ms` : "-";
}
