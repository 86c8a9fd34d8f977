// Reads a model that the library's `save` wrote: a safetensors file with a description in its metadata.
import { MOST } from "./engine.js";

const LOSSES = { // without names but these; the kernels' names of the losses, of which the predictions have the link
  __proto__: null,
  SquaredError: "squared_error", AbsoluteError: "absolute_error", Huber: "huber", Quantile: "quantile",
  PoissonNLL: "poisson_nll", GaussianNLL: "gaussian_nll", CrossEntropy: "cross_entropy_labels",
  BinaryCrossEntropy: "binary_cross_entropy",
};
const TYPES = { __proto__: null, F32: Float32Array, F64: Float64Array };
const DENSE = "save a network of dense layers, such as fastmlp.MLP([2, 16, 1])";

function check(truth, found, remedy) {
  if (!truth) throw new RangeError(`The file cannot be drawn: ${found}. Remedy: ${remedy}.`);
}

function json(text, name) {
  try {
    return JSON.parse(text);
  } catch {
    return check(false, `its ${name} is damaged`, "save the model again");
  }
}

// Compare the file with its digest, the SHA-256 of the file with zeros in place of the digest; only pages from a
// server, and those of this computer, may compute it.
async function verify(bytes, header, digest) {
  if (!globalThis.crypto?.subtle) return;
  const at = 8 + new TextDecoder("latin1").decode(header).indexOf(digest);
  const blank = bytes.slice();
  blank.fill("0".charCodeAt(0), at, at + digest.length);
  const found = new Uint8Array(await crypto.subtle.digest("SHA-256", blank));
  const digits = Array.from(found, byte => byte.toString(16).padStart(2, "0")).join("");
  check(digits === digest, "it has changed since it was saved", "save the model again");
}

// The numbers of a tensor of this shape.
function tensor(name, shape, tensors, payload) {
  const { dtype, shape: found, data_offsets: [start, end] = [] } = tensors[name] ?? {};
  const Type = TYPES[dtype];
  const length = shape.reduce((product, size) => product * size, 1);
  const isWhole = Type && String(found) === String(shape) && start >= 0 && end <= payload.length
    && end - start === length * Type.BYTES_PER_ELEMENT;
  check(isWhole, `${name} is not an array of ${shape} numbers`, "save the model again");
  return Float64Array.from(new Type(payload.slice(start, end).buffer));
}

// Make the parameters for raw data from those for standardised data, as the library does.
function fold({ weights, biases, sizes }, [xMean, xScale, yMean, yScale]) {
  const last = weights.length - 1, outputs = yMean.length;
  biases[0] = biases[0].map((b, o) => b - xMean.reduce((sum, mean, i) => sum + mean / xScale[i] * weights[0][i * sizes[1] + o], 0));
  weights[0] = weights[0].map((w, k) => w / xScale[Math.floor(k / sizes[1])]);
  weights[last] = weights[last].map((w, k) => w * (yScale[k % sizes.at(-1)] ?? 1));
  biases[last] = biases[last].map((b, o) => o < outputs ? b * yScale[o] + yMean[o] : b + 2 * Math.log(yScale[o - outputs]));
}

// Return a model as the engine and the page need it, or throw an error that says why it cannot be drawn.
export async function read(buffer) {
  try {
    return await parsed(buffer);
  } catch (error) {
    if (error instanceof RangeError) throw error;
    return check(false, "its description is damaged", "save the model again");
  }
}

async function parsed(buffer) {
  const bytes = new Uint8Array(buffer);
  const length = bytes.length < 8 ? Infinity : Number(new DataView(buffer).getBigUint64(0, true));
  check(length <= bytes.length - 8 && bytes[8] === "{".charCodeAt(0), "it is no safetensors file",
    'choose a file that net.save("net.safetensors") wrote');
  const header = bytes.subarray(8, 8 + length), payload = bytes.subarray(8 + length);
  const { __metadata__: about = {}, ...tensors } = json(new TextDecoder().decode(header), "header");
  check(about.format === "fastmlp" && about.digest && about.model, "another program wrote it",
    "load its weights into a fastmlp.MLP, and save that");
  check(about.version === "1", `it has version ${about.version} of the format, and this page reads 1`,
    "save the model by the fastmlp that this site describes");
  await verify(bytes, header, about.digest);
  const model = json(about.model, "description"), title = model.class;
  const network = { __proto__: null, MLP: model, MLPClassifier: model.fit, MLPRegressor: model.fit }[title]?.network;
  check(network, `its model is of the class ${title}`, `${DENSE}; of an ensemble, save one member`);
  for (const name of ["layer_norm", "parametric", "scale", "skip", "linear_path"])
    check(![network[name]].flat().some(Boolean), `its network has ${name}`, DENSE);
  const inputs = network.layer_sizes[0], loss = LOSSES[network.loss.object?.class];
  check(loss, "its loss is not one of the library", DENSE);
  check(inputs <= 2, `it has ${inputs} inputs`, "only networks of 1 or 2 inputs can be drawn");
  const hasVariance = loss === "gaussian_nll" && network.loss.object.predict_variance;
  const sizes = network.layer_sizes.map((size, k, { length: n }) => k === n - 1 && hasVariance ? 2 * size : size);
  check(sizes.length - 1 <= MOST.layers && Math.max(...sizes) <= MOST.neurons, `it has the layers ${sizes.join("-")}`,
    `use at most ${MOST.layers} layers of ${MOST.neurons} neurons`);
  const numbers = (name, ...shape) => tensor(name, shape, tensors, payload);
  const weights = sizes.slice(1).map((size, k) => numbers(`layers.${k}.weight`, sizes[k], size));
  const biases = sizes.slice(1).map((size, k) => numbers(`layers.${k}.bias`, size));
  let ranges = Array.from({ length: inputs }, () => [-1, 1]); // of each input, to draw
  if (tensors["scaling.x_mean"]) {
    const lengths = { x_mean: inputs, x_scale: inputs, y_mean: network.layer_sizes.at(-1), y_scale: network.layer_sizes.at(-1) };
    const scaling = Object.entries(lengths).map(([name, size]) => numbers(`scaling.${name}`, size));
    fold({ weights, biases, sizes }, scaling);
    ranges = ranges.map((_, k) => // most of the rows of the fit
      [-2.5, 2.5].map(width => Number((scaling[0][k] + width * scaling[1][k]).toPrecision(3))));
  }
  check([...weights, ...biases].every(values => values.every(value => Number.isFinite(Math.fround(value)))),
    "it has numbers that float32 cannot hold", "scale the inputs and targets");
  const links = loss === "gaussian_nll" && !hasVariance ? "gaussian_nll_unit" : loss;
  return { title, sizes, activations: network.activations, loss: links, weights, biases, ranges };
}
