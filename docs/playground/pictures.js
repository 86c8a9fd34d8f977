// The drawings of the playground.
const COLORS = [ // orange and blue, then further classes; they differ for the color-blind too
  [230, 126, 34], [31, 119, 200], [0, 158, 115], [204, 121, 167], [140, 110, 20], [120, 120, 120],
];
const GRID = 60; // cells of the map on each side
const MOST_NODES = 10; // drawn of a layer
const NODE = 26; // pixels of the picture of a neuron
const MOST_NUMBERS = 15; // edges of a network that has room for numbers
const MOST_LOSSES = 1000; // drawn, evenly chosen from all

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

// A place in the canvas from coordinates between -1 and 1, and the way back.
const place = (canvas, value) => (value / 1.15 + 1) * canvas.width / 2;
export const valueAt = (share) => (2 * share - 1) * 1.15;

// The inputs, between -1.15 and 1.15, at which the map and the curve show the network.
export const MAP = Float32Array.from({ length: 2 * GRID * GRID }, (_, k) => {
  const cell = k >> 1;
  return k % 2 ? -valueAt((Math.floor(cell / GRID) + 0.5) / GRID) : valueAt((cell % GRID + 0.5) / GRID);
});
export const LINE = Float32Array.from({ length: 181 }, (_, k) => valueAt(k / 180));
// The same for the small pictures of neurons.
const NODE_GRID = 14;
export const SMALL_MAP = Float32Array.from({ length: 2 * NODE_GRID ** 2 }, (_, k) => {
  const cell = k >> 1;
  return k % 2 ? -valueAt((Math.floor(cell / NODE_GRID) + 0.5) / NODE_GRID) : valueAt((cell % NODE_GRID + 0.5) / NODE_GRID);
});
export const SMALL_LINE = Float32Array.from({ length: NODE_GRID }, (_, k) => valueAt(k / (NODE_GRID - 1)));

const squares = side => Object.assign(document.createElement("canvas"), { width: side, height: side });
const SMALL = squares(GRID), TINY = squares(NODE_GRID); // a pixel for each cell

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

// A point of the data: filled if it is an example, a ring if it is new; its color is its class, or the size of its number.
function drawPoint(pen, x, y, radius, target, { hasNumbers, isNew }) {
  const kind = hasNumbers ? +(target > 0) : target, alpha = hasNumbers ? 0.25 + 0.75 * Math.min(1, Math.abs(target)) : 1;
  dot(pen, x, y, radius, isNew ? "transparent" : color(kind, alpha), isNew ? color(kind, alpha) : radius < 3 || hasNumbers ? "transparent" : "#fff");
}

// The rows of a data set, as a small picture.
export function drawData(canvas, { x, t }, inputs, hasNumbers) {
  const pen = clean(canvas);
  t.forEach((target, k) => {
    const [left, top] = inputs === 1 ? [x[k], target] : [x[2 * k], x[2 * k + 1]];
    drawPoint(pen, place(canvas, left), place(canvas, -top), 1.5, inputs === 1 ? 1 : target, { hasNumbers: inputs === 2 && hasNumbers });
  });
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
  for (const set of sets) set.t.forEach((target, k) =>
    drawPoint(pen, place(canvas, set.x[2 * k]), place(canvas, -set.x[2 * k + 1]), 4, target, set));
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
  for (const { x, t, isNew } of sets) t.forEach((target, k) =>
    dot(pen, place(canvas, x[k]), place(canvas, -target), 3, isNew ? "transparent" : color(1, 0.5), isNew ? color(1, 0.5) : "transparent"));
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

// The weight whose line, or the bias whose neuron, is nearest to a place: its layer, 1 for a bias, and its place.
export function nearestWeight(canvas, sizes, x, y) {
  const { shown, at } = placesOf(canvas, sizes);
  let best = "", least = Infinity;
  const offer = (distance, value) => { if (distance < least) [least, best] = [distance, value]; };
  for (let layer = 0; layer + 1 < sizes.length; layer++)
    for (let o = 0; o < shown[layer + 1]; o++) {
      const [x2, y2] = at(layer + 1, o);
      offer(Math.hypot(x - x2, y - y2) - NODE / 2, `${layer} 1 ${o}`);
      for (let i = 0; i < shown[layer]; i++) {
        const [x1, y1] = at(layer, i), squared = (x2 - x1) ** 2 + (y2 - y1) ** 2;
        const share = Math.min(1, Math.max(0, ((x - x1) * (x2 - x1) + (y - y1) * (y2 - y1)) / squared));
        offer(Math.hypot(x - x1 - share * (x2 - x1), y - y1 - share * (y2 - y1)), `${layer} 0 ${i * sizes[layer + 1] + o}`);
      }
    }
  return best;
}

// The picture of what a neuron computes: a map, or a curve.
function drawNeuron(pen, [x, y], values, isCurve) {
  const most = values.reduce((found, value) => Math.max(found, Math.abs(value)), 1e-9);
  pen.fillStyle = ink("--page");
  pen.fillRect(x - NODE / 2, y - NODE / 2, NODE, NODE);
  if (isCurve) {
    stroke(pen, Array.from(values, (value, k) => [x + NODE * (k / (NODE_GRID - 1) - 0.5), y - 0.45 * NODE * value / most]), color(0), 1.5);
  } else {
    const pixels = new ImageData(NODE_GRID, NODE_GRID);
    values.forEach((value, k) => pixels.data.set([...COLORS[+(value > 0)], 255 * Math.min(1, Math.abs(value) / most)], 4 * k));
    TINY.getContext("2d").putImageData(pixels, 0, 0);
    pen.imageSmoothingEnabled = false;
    pen.drawImage(TINY, x - NODE / 2, y - NODE / 2, NODE, NODE);
  }
  pen.lineWidth = 1;
  pen.strokeStyle = ink("--text");
  pen.strokeRect(x - NODE / 2, y - NODE / 2, NODE, NODE);
}

// Neurons as pictures of what they compute, weights as lines. `numbers` has a text for each weight of a small network,
// or is null; `neurons` has of each layer its size and its values by rows.
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
    const [width, values] = neurons[layer];
    for (let k = 0; k < shown[layer]; k++)
      drawNeuron(pen, at(layer, k), Float32Array.from({ length: values.length / width }, (_, row) => values[row * width + k]), isCurve);
    pen.fillStyle = ink("--text");
    if (size > MOST_NODES) pen.fillText(`${MOST_NODES} of ${size}`, at(layer, 0)[0] - 22, canvas.height - 6);
  });
  if (!numbers || edges.length > MOST_NUMBERS) return;
  pen.textAlign = "center";
  for (const { layer, i, o, from, to } of edges) {
    // The labels of lines that cross stand at different shares of their lengths.
    const share = shown[layer] > 1 ? 0.22 + 0.56 * i / (shown[layer] - 1) : 0.5;
    const [x, y] = [0, 1].map(k => from[k] + share * (to[k] - from[k]));
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

// The losses of all epochs, [on the points, on new points], on a logarithmic scale if all are above 0.
export function drawLosses(canvas, losses) {
  const pen = clean(canvas);
  const stride = Math.ceil(losses.length / MOST_LOSSES);
  const shown = losses.filter((_, k) => k % stride === 0);
  const found = shown.flat().filter(Number.isFinite);
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
    const points = shown.map((pair, k) => [42 + (canvas.width - 46) * k / Math.max(shown.length - 1, 1), pair[which]]);
    stroke(pen, points.filter(([, loss]) => Number.isFinite(loss)).map(([x, loss]) => [x, y(scaled(loss))]), color(kind), 2);
  }
}
