// The drawings of the playground.
import { EDGE, GRID, LINE, MOST_NODES, NODE_GRID } from "./grids.js";

const COLORS = [ // orange and blue, then further classes; they differ for the color-blind too
  [230, 126, 34], [31, 119, 200], [0, 158, 115], [204, 121, 167], [140, 110, 20], [120, 120, 120],
];
const NODE = 26; // pixels of the picture of a neuron
const MOST_NUMBERS = 15; // edges of a network that has room for numbers

const color = (kind, alpha = 1) => `rgb(${COLORS[kind % COLORS.length].join(" ")} / ${alpha})`;
const ink = name => getComputedStyle(document.documentElement).getPropertyValue(name);
export const short = value => Number.isFinite(value) ? String(Number(value.toPrecision(3))) : "-";

function clean(canvas) {
  const pen = canvas.getContext("2d");
  pen.clearRect(0, 0, canvas.width, canvas.height);
  pen.lineWidth = 1;
  pen.font = "12px system-ui, sans-serif";
  return pen;
}

function dot(pen, x, y, radius, fill, line) {
  pen.beginPath();
  pen.arc(x, y, radius, 0, 2 * Math.PI);
  pen.fillStyle = fill;
  pen.fill();
  pen.strokeStyle = line;
  pen.stroke();
}

function stroke(pen, points, style, width) {
  pen.beginPath();
  for (const point of points) pen.lineTo(...point);
  pen.strokeStyle = style;
  pen.lineWidth = width;
  pen.stroke();
}

// A place in the canvas from coordinates between -1 and 1.
const place = (canvas, value) => (value / EDGE + 1) * canvas.width / 2;

const squares = side => Object.assign(document.createElement("canvas"), { width: side, height: side });
// A pixel for each cell. Each neuron has a place of its own, a row for each layer: Safari's engine copies from a canvas
// later than it is told to, and would show the last neuron everywhere.
const SMALL = squares(GRID), NEURONS = squares(NODE_GRID * MOST_NODES);

// The axes, from -1 to 1, along two edges of a picture.
function drawAxes(canvas, pen, names) {
  pen.fillStyle = ink("--text");
  pen.textAlign = "center";
  for (const value of [-1, 0, 1]) {
    pen.fillText(value, place(canvas, value), canvas.height - 4);
    if (value) pen.fillText(value, 9, place(canvas, -value) + 4);
  }
  pen.fillText(names[0], place(canvas, 0.5), canvas.height - 4);
  pen.fillText(names[1], 9, place(canvas, -0.5));
  pen.textAlign = "start";
}

// The points of a set in the plane of two inputs, or of one input and the target: filled if they are examples, rings if
// they are new. The color is the class, or the size of the number.
function drawSet(canvas, pen, { x, t, isNew, hasNumbers }, inputs, radius) {
  const styleOf = inputs === 1 ? () => [1, 0.5] : hasNumbers ? target => [+(target > 0), 0.25 + 0.75 * Math.min(1, Math.abs(target))] : target => [target, 1];
  const border = hasNumbers || radius < 3 ? "transparent" : "#fff";
  t.forEach((target, k) => {
    const [left, top] = inputs === 1 ? [x[k], target] : [x[2 * k], x[2 * k + 1]], style = color(...styleOf(target));
    dot(pen, place(canvas, left), place(canvas, -top), radius, isNew ? "transparent" : style, isNew ? style : border);
  });
}

// The rows of a data set, as a small picture.
export function drawData(canvas, rows, inputs, hasNumbers) {
  drawSet(canvas, clean(canvas), { ...rows, hasNumbers }, inputs, 1.5);
}

// Sets of points in a large picture. They are kept as a picture of their own, since what is behind them changes more often.
const POINTS = squares(360);
let kept = [];
function drawSets(canvas, pen, sets, inputs) {
  if (sets.length !== kept.length || sets.some(({ x }, k) => x !== kept[k])) {
    const layer = clean(POINTS);
    for (const set of sets) drawSet(POINTS, layer, set, inputs, inputs === 1 ? 3 : 4);
    kept = sets.map(({ x }) => x);
  }
  pen.drawImage(POINTS, 0, 0, canvas.width, canvas.height);
}

// Cells in the color of their kind, as dark as they are strong (0 to 1), and sets of points; `cursor` is a place for
// the next point, or null.
export function drawMap(canvas, cells, sets, cursor) {
  const pen = clean(canvas);
  const pixels = new ImageData(GRID, GRID);
  cells.forEach(([kind, strength], k) =>
    pixels.data.set([...COLORS[kind % COLORS.length], 255 * (0.08 + 0.55 * Math.min(1, strength))], 4 * k));
  SMALL.getContext("2d").putImageData(pixels, 0, 0);
  pen.imageSmoothingEnabled = false;
  pen.drawImage(SMALL, 0, 0, canvas.width, canvas.height);
  drawSets(canvas, pen, sets, 2);
  if (sets.some(({ t }) => t.length)) drawAxes(canvas, pen, ["x1", "x2"]);
  if (cursor) {
    pen.strokeStyle = ink("--text");
    pen.strokeRect(place(canvas, cursor[0]) - 6, place(canvas, -cursor[1]) - 6, 12, 12);
  }
}

// Sets of points, and values between -1 and 1 as a curve; `deviations` make a band of two of them around it.
export function drawCurve(canvas, values, deviations, sets) {
  const pen = clean(canvas);
  const at = (value, k) => [place(canvas, LINE[k]), place(canvas, -value)];
  if (deviations) {
    const [low, high] = [-2, 2].map(width => Array.from(values, (value, k) => at(value + width * deviations[k], k)));
    pen.beginPath();
    for (const point of [...low, ...high.reverse()]) pen.lineTo(...point);
    pen.fillStyle = color(0, 0.25);
    pen.fill();
  }
  drawSets(canvas, pen, sets, 1);
  stroke(pen, Array.from(values, at), color(0), 3);
  if (sets.some(({ t }) => t.length)) drawAxes(canvas, pen, ["x", "y"]);
}

// Where neuron k of a layer stands, and how many of each layer are drawn.
function placesOf(canvas, sizes) {
  const shown = sizes.map(size => Math.min(size, MOST_NODES));
  const at = (layer, k) => [
    30 + (canvas.width - 60) * layer / (sizes.length - 1),
    canvas.height * (k + 1) / (shown[layer] + 1),
  ];
  return { shown, at };
}

// The neuron whose picture is at a place, its layer (0: the inputs) and number; null if there is none.
export function neuronAt(canvas, sizes, x, y) {
  const { shown, at } = placesOf(canvas, sizes);
  for (let layer = 0; layer < sizes.length; layer++)
    for (let k = 0; k < shown[layer]; k++) {
      const [left, top] = at(layer, k);
      if (Math.max(Math.abs(x - left), Math.abs(y - top)) <= NODE / 2) return [layer, k];
    }
  return null;
}

// The weight whose line is nearest to a place: its distance, and its layer, 0 as the tensor, and its place there.
export function nearestWeight(canvas, sizes, x, y) {
  const { shown, at } = placesOf(canvas, sizes);
  let best = [Infinity, ""];
  for (let layer = 0; layer + 1 < sizes.length; layer++)
    for (let o = 0; o < shown[layer + 1]; o++)
      for (let i = 0; i < shown[layer]; i++) {
        const [x1, y1] = at(layer, i), [x2, y2] = at(layer + 1, o), squared = (x2 - x1) ** 2 + (y2 - y1) ** 2;
        const share = Math.min(1, Math.max(0, ((x - x1) * (x2 - x1) + (y - y1) * (y2 - y1)) / squared));
        const distance = Math.hypot(x - x1 - share * (x2 - x1), y - y1 - share * (y2 - y1));
        if (distance < best[0]) best = [distance, `${layer} 0 ${i * sizes[layer + 1] + o}`];
      }
  return best;
}

// The picture of what neuron k of a layer computes: a map, or a curve.
function drawNeuron(pen, [x, y], layer, k, values, isCurve) {
  const most = values.reduce((found, value) => Math.max(found, Math.abs(value)), 1e-9);
  pen.fillStyle = ink("--page");
  pen.fillRect(x - NODE / 2, y - NODE / 2, NODE, NODE);
  if (isCurve) {
    stroke(pen, Array.from(values, (value, k) => [x + NODE * (k / (NODE_GRID - 1) - 0.5), y - 0.45 * NODE * value / most]), color(0), 1.5);
  } else {
    const pixels = new ImageData(NODE_GRID, NODE_GRID);
    values.forEach((value, cell) => pixels.data.set([...COLORS[+(value > 0)], 255 * Math.min(1, Math.abs(value) / most)], 4 * cell));
    const [left, top] = [k * NODE_GRID, layer * NODE_GRID];
    NEURONS.getContext("2d").putImageData(pixels, left, top);
    pen.imageSmoothingEnabled = false;
    pen.drawImage(NEURONS, left, top, NODE_GRID, NODE_GRID, x - NODE / 2, y - NODE / 2, NODE, NODE);
  }
  pen.lineWidth = 1;
  pen.strokeStyle = ink("--text");
  pen.strokeRect(x - NODE / 2, y - NODE / 2, NODE, NODE);
}

// Neurons as pictures of what they compute, weights as lines. `numbers` has a text for each weight of a small network,
// or is null; `neurons` has for each layer the values of its drawn neurons.
export function drawNetwork(canvas, sizes, weights, numbers, neurons, isCurve) {
  const pen = clean(canvas), { shown, at } = placesOf(canvas, sizes);
  const edges = weights.flatMap((W, layer) => {
    const largest = W.reduce((most, w) => Math.max(most, Math.abs(w)), 1e-9);
    return Array.from({ length: shown[layer] * shown[layer + 1] }, (_, k) => {
      const i = Math.floor(k / shown[layer + 1]), o = k % shown[layer + 1];
      return { layer, i, o, from: at(layer, i), to: at(layer + 1, o), w: W[i * sizes[layer + 1] + o], largest };
    });
  });
  for (const { from, to, w, largest } of edges) {
    const share = Math.abs(w) / largest;
    stroke(pen, [from, to], color(+(w > 0), 0.15 + 0.85 * share), 0.5 + 4 * share);
  }
  sizes.forEach((size, layer) => {
    neurons[layer].forEach((values, k) => drawNeuron(pen, at(layer, k), layer, k, values, isCurve));
    pen.fillStyle = ink("--text");
    if (size > MOST_NODES) pen.fillText(`${MOST_NODES} of ${size}`, at(layer, 0)[0] - 22, canvas.height - 6);
  });
  if (!numbers || edges.length > MOST_NUMBERS) return;
  pen.textAlign = "center";
  for (const { layer, i, o, from, to } of edges) {
    // A third of the way from two neurons, no lines cross, and their labels stand below each other.
    const [x, y] = [0, 1].map(k => from[k] + (to[k] - from[k]) / 3);
    numbers(layer, i, o).forEach((text, k) => {
      const top = y + 13 * k - 1, width = pen.measureText(text).width;
      pen.fillStyle = ink("--page");
      pen.fillRect(x - width / 2 - 1, top - 11, width + 2, 13);
      pen.fillStyle = ink("--text");
      pen.fillText(text, x, top);
    });
  }
  pen.textAlign = "start";
}

// The losses of epochs, [on the points, on new points], on a logarithmic scale if all are above 0.
export function drawLosses(canvas, losses) {
  const pen = clean(canvas);
  const found = losses.flat().filter(Number.isFinite);
  if (!found.length) return;
  const isLog = found.every(loss => loss > 0);
  const scaled = loss => isLog ? Math.log10(loss) : loss;
  const low = scaled(Math.min(...found)), high = scaled(Math.max(...found));
  const unit = isLog ? Math.max(1, Math.ceil((high - low) / 6)) : 10 ** Math.floor(Math.log10(high - low || 1));
  const floor = unit * Math.floor(low / unit), top = unit * Math.ceil(high / unit);
  const y = value => 10 + (canvas.height - 20) * (top - value) / Math.max(top - floor, 1e-9);
  for (let tick = floor; tick <= top + unit / 2; tick += unit) {
    pen.fillStyle = ink("--quiet");
    pen.fillText(isLog ? `1e${tick}` : short(tick), 2, y(tick) + 4);
    stroke(pen, [[38, y(tick)], [canvas.width, y(tick)]], ink("--line"), 1);
  }
  for (const [which, kind] of [[1, 0], [0, 1]]) {
    const points = losses.map((pair, k) => [42 + (canvas.width - 46) * k / Math.max(losses.length - 1, 1), pair[which]]);
    stroke(pen, points.filter(([, loss]) => Number.isFinite(loss)).map(([x, loss]) => [x, y(scaled(loss))]), color(kind), 2);
  }
}
