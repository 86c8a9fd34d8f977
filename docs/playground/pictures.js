// The drawings of the playground.
const CLASSES = [[230, 126, 34], [31, 119, 200]]; // orange and blue differ for the color-blind too
const GRID = 60; // cells of the map on each side
const MOST_NODES = 10; // drawn of a layer
const MOST_LOSSES = 1000; // drawn, evenly chosen from all

const color = (rgb, alpha = 1) => `rgb(${rgb.join(" ")} / ${alpha})`;
const ink = name => getComputedStyle(document.documentElement).getPropertyValue(name);

function clean(canvas) {
  const pen = canvas.getContext("2d");
  pen.clearRect(0, 0, canvas.width, canvas.height);
  pen.lineWidth = 1;
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

// A place in the canvas from coordinates between -1 and 1, and the way back.
const place = (canvas, value) => (value / 1.15 + 1) * canvas.width / 2;
export const valueAt = (share) => (2 * share - 1) * 1.15;

const MAP = Float32Array.from({ length: 2 * GRID * GRID }, (_, k) => {
  const cell = k >> 1;
  return k % 2 ? -valueAt((Math.floor(cell / GRID) + 0.5) / GRID) : valueAt((cell % GRID + 0.5) / GRID);
});
const LINE = Float32Array.from({ length: 181 }, (_, k) => valueAt(k / 180));

// The probability of class 1 as a shade, and the points; `cursor` is a place for the next point, or null.
export function drawMap(canvas, predict, { x, t }, cursor) {
  const pen = clean(canvas);
  const values = predict(MAP);
  const cell = canvas.width / GRID;
  values.forEach((value, k) => {
    const p = Math.min(1, Math.max(0, value));
    pen.fillStyle = color(CLASSES[+(p > 0.5)], 0.08 + 1.1 * Math.abs(p - 0.5));
    pen.fillRect(k % GRID * cell, Math.floor(k / GRID) * cell, cell, cell);
  });
  t.forEach((label, k) =>
    dot(pen, place(canvas, x[2 * k]), place(canvas, -x[2 * k + 1]), 4, color(CLASSES[label]), "#fff"));
  if (cursor) {
    pen.strokeStyle = ink("--text");
    pen.strokeRect(place(canvas, cursor[0]) - 6, place(canvas, -cursor[1]) - 6, 12, 12);
  }
}

// The points, and the predictions as a curve.
export function drawCurve(canvas, predict, { x, t }) {
  const pen = clean(canvas);
  t.forEach((target, k) =>
    dot(pen, place(canvas, x[k]), place(canvas, -target), 3, color(CLASSES[1], 0.5), "transparent"));
  pen.beginPath();
  predict(LINE).forEach((value, k) => pen.lineTo(place(canvas, LINE[k]), place(canvas, -value)));
  pen.strokeStyle = color(CLASSES[0]);
  pen.lineWidth = 3;
  pen.stroke();
}

// Neurons as circles, weights as lines.
export function drawNetwork(canvas, sizes, weights) {
  const pen = clean(canvas);
  const shown = sizes.map(size => Math.min(size, MOST_NODES));
  const at = (layer, k) => [
    30 + (canvas.width - 60) * layer / (sizes.length - 1),
    canvas.height * (k + 1) / (shown[layer] + 1),
  ];
  weights.forEach((W, layer) => {
    const largest = W.reduce((most, w) => Math.max(most, Math.abs(w)), 1e-9);
    for (let i = 0; i < shown[layer]; i++)
      for (let o = 0; o < shown[layer + 1]; o++) {
        const w = W[i * sizes[layer + 1] + o], share = Math.abs(w) / largest;
        pen.beginPath();
        pen.moveTo(...at(layer, i));
        pen.lineTo(...at(layer + 1, o));
        pen.strokeStyle = color(CLASSES[+(w > 0)], 0.15 + 0.85 * share);
        pen.lineWidth = 0.5 + 4 * share;
        pen.stroke();
      }
  });
  pen.lineWidth = 1;
  pen.font = "12px system-ui, sans-serif";
  sizes.forEach((size, layer) => {
    for (let k = 0; k < shown[layer]; k++) dot(pen, ...at(layer, k), 7, ink("--page"), ink("--text"));
    pen.fillStyle = ink("--text");
    if (size > MOST_NODES) pen.fillText(`${MOST_NODES} of ${size}`, at(layer, 0)[0] - 22, canvas.height - 6);
  });
}

// The losses of all epochs, on a logarithmic scale with a line for each power of ten.
export function drawLosses(canvas, losses) {
  const pen = clean(canvas);
  const stride = Math.ceil(losses.length / MOST_LOSSES);
  const shown = Array.from({ length: Math.ceil(losses.length / stride) || 0 }, (_, k) => losses[k * stride]);
  const logs = shown.filter(loss => loss > 0).map(Math.log10);
  if (!logs.length) return;
  const low = Math.floor(Math.min(...logs)), high = Math.ceil(Math.max(...logs));
  const y = log => 10 + (canvas.height - 20) * (high - log) / Math.max(high - low, 1);
  const every = Math.ceil((high - low + 1) / 6);
  pen.font = "12px system-ui, sans-serif";
  pen.fillStyle = ink("--quiet");
  pen.strokeStyle = ink("--line");
  for (let power = low; power <= high; power += every) {
    pen.fillText(`1e${power}`, 2, y(power) + 4);
    pen.beginPath();
    pen.moveTo(38, y(power));
    pen.lineTo(canvas.width, y(power));
    pen.stroke();
  }
  pen.beginPath();
  logs.forEach((log, k) => pen.lineTo(42 + (canvas.width - 46) * k / Math.max(logs.length - 1, 1), y(log)));
  pen.strokeStyle = color(CLASSES[1]);
  pen.lineWidth = 2;
  pen.stroke();
}
