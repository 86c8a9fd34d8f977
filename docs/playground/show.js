// What the page shows of a network: pictures, numbers, and the choices of what they show.
import { MOST_NODES } from "./grids.js";
import { drawCurve, drawLosses, drawMap, drawNetwork, short } from "./pictures.js";

export const element = id => document.getElementById(id);
export const say = text => { element("message").textContent = text; };

// Of a network: its title, sizes, loss, inputs (1 or 2), names of the features, whether targets are numbers (hasNumbers),
// points (rows, and fresh ones that are not trained on), and the ranges of the inputs of a saved model, else null.
const isClasses = ({ loss }) => /cross_entropy/.test(loss);
const isCurve = ({ inputs }) => inputs === 1;
const outputs = ({ loss, sizes }) => loss === "gaussian_nll" ? sizes.at(-1) / 2 : sizes.at(-1);

const fill = (select, choices) => {
  const before = select.value;
  select.replaceChildren(...choices.map(([title, value]) => new Option(title, value)));
  if (choices.some(([, value]) => value === before)) select.value = before;
};

// Offer to show the predictions, and each drawn neuron of the hidden layers; and each weight and bias to be changed.
export function offerViews(network) {
  const { sizes } = network, count = outputs(network);
  const name = isClasses(network) ? "probability of class" : "prediction";
  const many = isClasses(network) && count > 1 && !isCurve(network) ? [["most probable class", "output all"]] : [];
  const views = [...many, ...Array.from({ length: count }, (_, k) => {
    const label = isClasses(network) ? ` ${count > 1 ? k : 1}` : count > 1 ? ` ${k + 1}` : "";
    return [name + label, `output ${k}`];
  })];
  sizes.slice(1, -1).forEach((size, layer) => {
    for (let k = 0; k < Math.min(size, MOST_NODES); k++) views.push([`neuron ${k + 1} of layer ${layer + 1}`, `${layer} ${k}`]);
  });
  fill(element("view"), views);
  fill(element("edge"), weightsOf(network));
}

// The weights and biases that are drawn; the value is layer, 1 for biases, and the place in the tensor.
function weightsOf({ sizes, names }) {
  const choices = [], drawn = layer => Math.min(sizes[layer], MOST_NODES);
  for (let layer = 0; layer + 1 < sizes.length; layer++) {
    const to = layer + 2 < sizes.length ? `layer ${layer + 1}` : "the output";
    for (let o = 0; o < drawn(layer + 1); o++) {
      for (let i = 0; i < drawn(layer); i++)
        choices.push([`${layer ? `neuron ${i + 1}` : names[i]} to neuron ${o + 1} of ${to}`, `${layer} 0 ${i * sizes[layer + 1] + o}`]);
      choices.push([`bias of neuron ${o + 1} of ${to}`, `${layer} 1 ${o}`]);
    }
  }
  return choices;
}

// The number at a place of the tensors, written as `weightsOf` writes it.
export function weightAt({ tensors }, place) {
  const [layer, tensor, at] = place.split(" ").map(Number);
  return tensors[layer][tensor][at];
}

// What the large picture shows, as `Trainer.look` takes it: the chosen view, or the neuron under the pointer.
export function viewOf(network, hovered) {
  const [from, which] = (hovered ?? element("view").value).split(" "), last = network.sizes.length - 2, count = outputs(network);
  const layer = from === "output" ? last : Number(from);
  const column = Number(which), hasVariance = layer === last && column < count && count < network.sizes.at(-1);
  const columns = which === "all" ? [...Array(count).keys()] : hasVariance ? [column, count + column] : [column];
  return { layer, columns, ranges: network.ranges, isOutput: layer === last, isAll: which === "all" };
}

function showValues(network, picture, view, cursor) {
  const values = picture.values[0];
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const draws = isCurve(network) ? showCurve : showMap;
  element("legend").textContent = draws(network, { ...view, values, low, high, columns: picture.values }, cursor);
  element("map").setAttribute("aria-label", `${network.title}: ${element("legend").textContent}`);
}

// The sets of points to be drawn: the examples, and new ones if the visitor wants them.
function pointsOf({ rows, fresh, hasNumbers }) {
  const sets = element("fresh").checked && fresh ? [rows, { ...fresh, isNew: true }] : [rows];
  return sets.map(set => ({ ...set, hasNumbers }));
}

function showMap(network, { columns, values, low, high, isAll, isOutput }, cursor) {
  const sets = pointsOf(network), isDiscrete = element("discrete").checked, isModel = !!network.ranges;
  const cells = kindsAndStrengths => drawMap(element("map"), isDiscrete ? kindsAndStrengths.map(([kind]) => [kind, 1]) : kindsAndStrengths, sets, cursor);
  if (isAll) {
    cells(Array.from(values, (_, k) => {
      const shares = columns.map(column => column[k]), most = Math.max(...shares);
      return [shares.indexOf(most), most];
    }));
    return "The color is the most probable class, dark where it is sure.";
  }
  const isNumber = isOutput && !isModel && network.hasNumbers;
  const isShare = isOutput && !isNumber && (isClasses(network) || !isModel);
  const [from, to] = isShare ? [0, 1] : isNumber ? [-1, 1] : [low, high];
  cells(Array.from(values, value => {
    const share = (value - from) / (to - from || 1);
    return [+(share > 0.5), 2 * Math.abs(share - 0.5)];
  }));
  if (isNumber) return "Points are the examples; the shade is the prediction, from -1 (orange) to 1 (blue), as the color of the points is.";
  const points = isModel ? "The" : `Points are the examples${sets.length > 1 ? ", rings are new" : ""}; the`;
  const axes = isModel ? ` ${network.ranges.map(([a, b], k) => `x${k + 1} goes from ${a} to ${b}`).join(", ")}.` : "";
  if (isShare) return `${points} shade is the prediction, blue for class 1 and orange for class 0.${axes}`;
  return `${points} shade goes from ${short(low)} (orange) to ${short(high)} (blue).${axes}`;
}

function showCurve(network, { columns, values, low, high, isOutput }) {
  let deviations = columns.length > 1 ? Array.from(columns[1], Math.sqrt) : null;
  const scales = network.ranges || !isOutput;
  if (deviations) {
    low = Math.min(...values.map((value, k) => value - 2 * deviations[k]));
    high = Math.max(...values.map((value, k) => value + 2 * deviations[k]));
  }
  const half = (high - low) / 2 || 1;
  const scaled = scales ? values.map(value => (value - low) / half - 1) : values;
  if (scales) deviations = deviations?.map(value => value / half);
  drawCurve(element("map"), scaled, deviations, scales && !network.ranges ? [] : pointsOf(network));
  const band = deviations ? ", the band is two standard deviations wide on each side" : "";
  if (!scales) return `Points are the examples, the curve is the network's prediction${band}.`;
  const [from, to] = network.ranges?.[0] ?? [-1, 1];
  return `The curve from x = ${from} to ${to}: it goes from ${short(low)} (bottom) to ${short(high)} (top)${band}.`;
}

// The table of the last batch: the numbers of each weight and bias.
function showNumbers(numbers) {
  element("numbers").hidden = !numbers;
  if (!numbers) return;
  const one = "of one point: dW is x times dz, and x is the neuron's output";
  element("about").textContent = `The last batch ${numbers.size === 1 ? one : `of ${numbers.size} points: dW is the mean of x times dz`}. `
    + `Gradient descent sets W to W - ${numbers.rate} dW; other optimizers change the step.`;
  element("numbers").querySelector("tbody").replaceChildren(...numbers.edges.map(edge => {
    const row = document.createElement("tr");
    const cells = [edge.layer, edge.isBias ? "bias" : edge.i + 1, edge.o + 1];
    for (const text of [...cells, ...["x", "dz", "slope", "before", "after"].map(name => short(edge[name]))])
      row.insertCell().textContent = text;
    return row;
  }));
}

function showNetwork(network, { numbers, tensors, neurons }) {
  const texts = numbers && ((layer, i, o) => {
    const edge = numbers.edges.find(each => each.layer === layer && each.i === i && each.o === o);
    return [`W ${short(edge.after)}`, `dW ${short(edge.slope)}`];
  });
  drawNetwork(element("network"), network.sizes, tensors.map(([weights]) => weights), texts, neurons, isCurve(network));
}

// Show a picture of the worker, which `view` asked for; `cursor` is a place for the next own point, or null.
export function show(network, picture, view, cursor) {
  showValues(network, picture, view, cursor);
  showNetwork(network, picture);
  if (document.activeElement !== element("weight")) element("weight").value = short(weightAt(picture, element("edge").value));
  showNumbers(picture.numbers);
  drawLosses(element("losses"), picture.losses);
  const texts = {
    epoch: picture.epoch,
    loss: Number.isFinite(picture.last[0]) ? picture.last[0].toPrecision(4) : "-",
    new: Number.isFinite(picture.last[1]) ? picture.last[1].toPrecision(4) : "-",
    accuracy: Number.isFinite(picture.accuracy) ? `${(100 * picture.accuracy).toFixed(1)} %` : "-",
    time: picture.time >= 0 ? `${picture.time.toPrecision(2)} ms` : "-",
  };
  for (const [id, text] of Object.entries(texts)) element(id).textContent = text;
}
