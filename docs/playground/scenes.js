// The data sets of the playground, and the scenes that links open. Tables without a prototype have no name but their
// own rows': a link to "toString" opens no function.

// Uniform numbers from 0 to 1 that depend on the seed alone (a linear congruential generator).
export function numbers(seed) {
  let state = seed >>> 0;
  return () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
}

const angle = 2 * Math.PI;
const normal = draw => Math.sqrt(-2 * Math.log(1 - draw())) * Math.cos(angle * draw());
const sign = k => k % 2 ? 1 : -1;

// Each draws one row: the inputs and the target, or the class (1 or 0). Inputs are between -1 and 1.
export const DATA = {
  __proto__: null,
  line: { title: "line", inputs: 1, row: draw => {
    const x = 2 * draw() - 1;
    return [x, 0.7 * x + 0.1];
  } },
  curve: { title: "noisy curve", inputs: 1, row: draw => {
    const x = 2 * draw() - 1;
    return [x, 0.6 * Math.sin(5 * x) + 0.2 * x];
  } },
  uneven: { title: "growing noise", inputs: 1, row: draw => {
    const x = 2 * draw() - 1;
    return [x, 0.5 * Math.sin(3 * x) + (0.13 + 0.11 * x) * normal(draw)];
  } },
  xor: { title: "exclusive or", inputs: 2, row: draw => {
    const x = 2 * draw() - 1, y = 2 * draw() - 1;
    return [x, y, +(x > 0 !== y > 0)];
  } },
  circles: { title: "circles", inputs: 2, row: (draw, k) => {
    const r = (k % 2 ? 0.3 : 0.75) + 0.15 * draw(), t = angle * draw();
    return [r * Math.cos(t), r * Math.sin(t), k % 2];
  } },
  spirals: { title: "spirals", inputs: 2, row: (draw, k) => {
    const r = 0.1 + 0.85 * draw(), t = 1.5 * angle * r;
    return [sign(k) * r * Math.cos(t), sign(k) * r * Math.sin(t), k % 2];
  } },
  gaussians: { title: "two clouds", inputs: 2, row: (draw, k) =>
    [0.4 * sign(k) + 0.18 * normal(draw), 0.4 * sign(k) + 0.18 * normal(draw), k % 2] },
  plane: { title: "plane of numbers", inputs: 2, hasNumbers: true, row: draw => {
    const x = 2 * draw() - 1, y = 2 * draw() - 1;
    return [x, y, 0.5 * (x + y)];
  } },
  hills: { title: "hills and valleys", inputs: 2, hasNumbers: true, row: draw => {
    const x = 2 * draw() - 1, y = 2 * draw() - 1, hill = (a, b) => Math.exp(-12 * ((x - a) ** 2 + (y - b) ** 2));
    return [x, y, [-0.65, 0, 0.65].reduce((sum, a, k) => sum + sign(k) * (hill(a, -0.4) - hill(a, 0.4)), 0)];
  } },
  own: { title: "own points", inputs: 2, row: null },
};

// Whether the targets of a data set are numbers rather than classes.
export const hasNumbers = name => DATA[name].inputs === 1 || !!DATA[name].hasNumbers;

// What a network may get of the inputs x1 and x2: the field's name, its title, and the function.
export const FEATURES = {
  __proto__: null,
  x1: ["x1", x => x], x2: ["x2", (x, y) => y], squared1: ["x1²", x => x * x], squared2: ["x2²", (x, y) => y * y],
  product: ["x1 x2", (x, y) => x * y], sine1: ["sin πx1", x => Math.sin(Math.PI * x)], sine2: ["sin πx2", (x, y) => Math.sin(Math.PI * y)],
};

// The chosen features of rows with one or two inputs.
export function featured(x, inputs, names) {
  const functions = names.map(name => FEATURES[name][1]);
  const out = new Float32Array(x.length / inputs * names.length);
  for (let row = 0, at = 0; row < x.length; row += inputs)
    for (const feature of functions) out[at++] = feature(x[row], x[row + 1]);
  return out;
}

// Return n rows of a data set: x, and the targets t. Noise moves the targets of curves, and the inputs of classes.
export function rowsOf(name, noise, points, n, seed = 7) {
  const { inputs, row } = DATA[name], isNumber = hasNumbers(name);
  const draw = numbers(seed);
  const rows = row ? Array.from({ length: n }, (_, k) => row(draw, k)) : points;
  const moved = rows.map(each => each.map((value, k) =>
    row && (isNumber ? k === inputs : k < inputs) ? value + noise * normal(draw) : value));
  return {
    x: Float32Array.from(moved.flatMap(each => each.slice(0, inputs))),
    t: Float32Array.from(moved, each => each[inputs]),
  };
}

const small = {
  points: 256, tests: 256, noise: 0, features: "", layers: "8", activation: "tanh", optimizer: "adam", rate: 0.02, batch: 32,
  l1: 0, l2: 0, dropout: 0, speed: "usual",
};
const regression = { ...small, loss: "squared_error", data: "curve" };
const classes = { ...small, loss: "binary_cross_entropy", data: "xor" };
const straight = { ...regression, data: "line", layers: "", optimizer: "sgd", batch: 256 };

// `features` "" means the inputs themselves.
export const SCENES = {
  __proto__: null,
  examples: { ...regression, chapter: "examples", noise: 0.1, layers: "16",
    task: "The points are examples of an unknown rule. Run, and see the curve find it. What does it do between the points if you take 64, 64 as layers?" },
  step: { ...straight, chapter: "step", noise: 0.1, rate: 0.1,
    task: "A straight line has two parameters. Press One epoch several times: each press is one step down the slope. Then try step sizes of 1 and 3." },
  divergence: { ...straight, chapter: "divergence", rate: 2.5,
    task: "The step size is larger than 2 divided by the curvature. Run, and each step lands farther from the minimum. Then take the smaller step that is offered." },
  batches: { ...straight, chapter: "batches", noise: 0.3, batch: 1, rate: 0.1,
    task: "Batches of one row jump about the line of least squares. Take 16 and 256 as the batch: the path becomes smooth, and an epoch makes fewer steps." },
  maps: { ...classes, chapter: "maps", data: "circles", layers: "3",
    task: "Three neurons map the plane into a space of three dimensions, where one plane separates ring and disc. Look at each neuron by Show. Are two neurons enough?" },
  stacked: { ...classes, chapter: "stacked", activation: "identity", layers: "8, 8",
    task: "Without a nonlinearity, three layers are one affine map: the border stays a straight line. Choose another activation, and run again." },
  xor: { ...classes, chapter: "nonlinearity", layers: "4",
    task: "One neuron cannot separate these classes: remove the hidden layers and see. With four hidden neurons it is easy." },
  approximation: { ...regression, chapter: "approximation", activation: "relu", layers: "6", rate: 0.01,
    task: "Each relu neuron adds a kink to the curve. Count them, then take 2 or 30 neurons." },
  probability: { ...classes, chapter: "classes", data: "circles", noise: 0.15, layers: "8, 8",
    task: "The classes overlap. The shade is the probability of class 1: between the classes it is near one half. Compare with squared error as loss." },
  uncertainty: { ...regression, chapter: "probability", data: "uneven", loss: "gaussian_nll", layers: "16", rate: 0.01,
    task: "The noise grows from left to right. The second output is a variance: run, and the band of two standard deviations fits itself to the points. About 95 % of them should lie in it." },
  backpropagation: { ...classes, chapter: "backpropagation", layers: "2", batch: 1, optimizer: "sgd", rate: 0.5,
    task: "Press One batch: a batch of one point. Each line shows its weight W and the derivative dW of the loss. Check two rows of the table: dW = x dz, and the new W is W minus 0.5 dW. Then run." },
  vanishing: { ...classes, chapter: "first-weights", data: "circles", activation: "sigmoid", layers: "8, 8, 8, 8, 8, 8", optimizer: "sgd", rate: 0.5,
    task: "Six layers of sigmoids: the derivatives vanish on their way back, and the loss stays where it is. Choose relu as the activation, and run again." },
  spirals: { ...classes, chapter: "fast", data: "spirals", layers: "32, 32",
    task: "A network of 1,185 parameters on 256 points, by the kernels of the library. How long does an epoch take? Compare with 128, 128: fourteen times the parameters." },
  overfitting: { ...regression, chapter: "overfitting", points: 20, noise: 0.25, layers: "64, 64", batch: 20, rate: 0.01,
    task: "Few, noisy points, and a large network. Run: the loss (blue) falls, the loss on new points (orange) falls and then rises, as the network learns the noise. When should it have stopped? Then try l2 = 0.01, or dropout = 0.2." },
};
