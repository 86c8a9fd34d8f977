// The results of the page: pictures, numbers, and what they show.
import { drawCurve, drawLosses, drawMap, drawNetwork, LINE, MAP, short } from "./pictures.js";

const MOST_SHOWN = 10; // neurons of a layer that can be chosen

export const element = id => document.getElementById(id);
export const say = text => { element("message").textContent = text; };
// The network, its data, and the state of the training; `model` is a saved model that is drawn instead, or null.
export const state = { points: [], cursor: null, seed: 0, running: false, rows: null, sizes: null, losses: [], model: null };

const isClasses = () => /cross_entropy/.test(state.loss);
const isCurve = () => state.sizes[0] === 1;
const outputs = () => state.loss === "gaussian_nll" ? state.sizes.at(-1) / 2 : state.sizes.at(-1);

// Offer the predictions, and each neuron of the hidden layers, to be shown.
export function offerViews() {
  const last = state.sizes.length - 2;
  const names = isClasses() ? ["probability of class"] : ["prediction"];
  const many = isClasses() && outputs() > 1 && !isCurve() ? [["most probable class", `${last} all`]] : [];
  const views = [...many, ...Array.from({ length: outputs() }, (_, k) => {
    const label = isClasses() ? ` ${outputs() > 1 ? k : 1}` : outputs() > 1 ? ` ${k + 1}` : "";
    return [names[0] + label, `${last} ${k}`];
  })];
  state.sizes.slice(1, -1).forEach((size, layer) => {
    for (let k = 0; k < Math.min(size, MOST_SHOWN); k++) views.push([`neuron ${k + 1} of layer ${layer + 1}`, `${layer} ${k}`]);
  });
  const before = element("view").value;
  element("view").replaceChildren(...views.map(([title, value]) => new Option(title, value)));
  if (views.some(([, value]) => value === before)) element("view").value = before;
}

// Inputs of the picture, from -1.15 to 1.15, in the ranges of a saved model.
function inRanges(x) {
  if (!state.model) return x;
  const { ranges } = state.model;
  return x.map((value, k) => {
    const [low, high] = ranges[k % ranges.length];
    return (low + high + value * (high - low)) / 2;
  });
}

function showValues(engine, cursor) {
  const [layer, which] = element("view").value.split(" ");
  const inputs = isCurve() ? LINE : MAP;
  const found = engine.predict(inRanges(inputs), Number(layer));
  const width = state.sizes[Number(layer) + 1];
  const rows = Array.from({ length: found.length / width }, (_, k) => found.subarray(k * width, (k + 1) * width));
  const isOutput = Number(layer) === state.sizes.length - 2;
  const values = rows.map(row => row[which === "all" ? 0 : Number(which)]);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const draws = isCurve() ? showCurve : showMap;
  element("legend").textContent = draws({ rows, values, low, high, which, isOutput }, cursor);
  element("map").setAttribute("aria-label", `${state.title}: ${element("legend").textContent}`);
}

function showMap({ rows, values, low, high, which, isOutput }, cursor) {
  const points = state.model ? "" : "Points are the examples; ";
  if (which === "all") {
    drawMap(element("map"), rows.map(row => {
      const best = row.indexOf(Math.max(...row));
      return [best, row[best]];
    }), state.rows, cursor);
    return "The color is the most probable class, dark where it is sure.";
  }
  const isShare = isOutput && (isClasses() || !state.model);
  const [from, to] = isShare ? [0, 1] : [low, high];
  drawMap(element("map"), values.map(value => {
    const share = (value - from) / (to - from || 1);
    return [+(share > 0.5), 2 * Math.abs(share - 0.5)];
  }), state.rows, cursor);
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
  drawCurve(element("map"), scaled, deviations, scales && !state.model ? { x: [], t: [] } : state.rows);
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
  drawNetwork(element("network"), sizes, sizes.slice(1).map((_, layer) => engine.get(layer, 0)), texts);
  showNumbers();
  drawLosses(element("losses"), losses);
  const last = losses.at(-1) ?? [NaN, NaN];
  const time = state.times.reduce((sum, each) => sum + each, 0) / state.times.length;
  element("epoch").textContent = losses.length;
  element("loss").textContent = last[0] === last[0] ? last[0].toPrecision(4) : "-";
  element("new").textContent = last[1] === last[1] ? last[1].toPrecision(4) : "-";
  element("accuracy").textContent = isCurve() || !state.rows.t.length ? "-" : accuracy(engine);
  element("time").textContent = time >= 0 ? `${time.toPrecision(2)} ms` : "-";
}
