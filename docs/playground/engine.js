// A network on the kernels of fastmlp, which play.pyx compiles to WebAssembly. One network exists at a time.
export const MOST = { layers: 8, neurons: 128, rows: 4096 };
const [ACTIVATIONS, LOSSES, OPTIMIZERS] = [0, 1, 2]; // tables of the kernels
const NUMBERS = { __proto__: null, huber: 1, quantile: 0.9 }; // the parameters of losses

// The instance, with arrays copied to and from its memory.
export async function load(bytes) {
  const module = await WebAssembly.compile(bytes);
  const imports = {};
  for (const { module: from, name } of WebAssembly.Module.imports(module))
    (imports[from] ??= {})[name] = () => 0; // the clock, which one thread never asks
  const wasm = (await WebAssembly.instantiate(module, imports)).exports;
  wasm._initialize?.();
  return new Engine(wasm);
}

class Engine {
  constructor(wasm) {
    this.wasm = wasm;
  }

  // Copy an array into the memory of the instance; returns its address.
  put(array) {
    const at = this.wasm.malloc(array.byteLength || 1);
    if (!at) throw new RangeError(`no memory for ${array.byteLength} bytes`);
    new Uint8Array(this.wasm.memory.buffer, at, array.byteLength)
      .set(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
    return at;
  }

  // Call a function with arrays and numbers; the addresses of the arrays are valid during the call.
  call(name, ...values) {
    const at = values.map(value => ArrayBuffer.isView(value) ? this.put(value) : value);
    const result = this.wasm[`play_${name}`](...at);
    values.forEach((value, k) => {
      if (!ArrayBuffer.isView(value)) return;
      value.set(new value.constructor(this.wasm.memory.buffer, at[k], value.length)); // outputs
      this.wasm.free(at[k]);
    });
    return result;
  }

  // The row of a name in a table of the kernels.
  row(table, name) {
    const row = this.call("row", table, new TextEncoder().encode(`${name}\0`));
    if (row < 0) throw new RangeError(`${name} is not known: use names of the library's kernels`);
    return row;
  }

  // sizes: inputs, hidden layers, outputs of the last layer; activations and dropout: of the hidden layers; loss and
  // optimizer: names of the library's kernels; hyper: the four numbers of the optimizer; seed: of dropout, a BigInt.
  make(sizes, { activations, loss, optimizer, hyper, batch, l1 = 0, l2 = 0, dropout = activations.map(() => 0), seed = 0n }) {
    const layers = sizes.length - 1;
    const isSize = size => Number.isInteger(size) && size >= 1 && size <= MOST.neurons;
    if (layers < 1 || layers > MOST.layers || !sizes.every(isSize))
      throw new RangeError(`layers ${sizes}: use 1 to ${MOST.layers} layers of 1 to ${MOST.neurons} neurons`);
    if (activations.length !== layers - 1 || dropout.length !== layers - 1)
      throw new RangeError(`${layers} layers: give ${layers - 1} activations, and as many dropouts`);
    if (!(Number.isInteger(batch) && batch >= 1 && batch <= MOST.rows))
      throw new RangeError(`batch ${batch}: use a whole number from 1 to ${MOST.rows}`);
    for (const [name, penalty] of Object.entries({ l1, l2 }))
      if (!(penalty >= 0 && penalty < 1e30)) throw new RangeError(`${name} ${penalty}: use a number of at least 0`);
    if (!dropout.every(share => share >= 0 && share < 1))
      throw new RangeError(`dropout ${dropout}: use numbers from 0 to below 1`);
    const outputs = sizes.at(-1);
    const width = loss === "gaussian_nll" ? outputs / 2 : outputs; // a mean and a variance for each target
    if (!Number.isInteger(width)) throw new RangeError(`${outputs} outputs: ${loss} needs pairs`);
    this.call("make", layers, Int32Array.from(sizes),
      Int32Array.from(activations, name => this.row(ACTIVATIONS, name)),
      this.row(LOSSES, loss), NUMBERS[loss] ?? 0, width, this.row(OPTIMIZERS, optimizer),
      Float64Array.from(hyper), l1, l2, Float64Array.from(dropout), batch, seed);
    Object.assign(this, { sizes, batch, width });
  }

  // Weights (tensor 0) by rows of inputs, or biases (tensor 1).
  set(layer, tensor, values) {
    this.call("set", layer, tensor, Float32Array.from(values));
  }

  // The same, or the derivatives of the loss by them, of the last call of `gradients`.
  get(layer, tensor, isGradient = false) {
    const plain = new Float32Array(this.sizes[layer + 1] * (tensor ? 1 : this.sizes[layer]));
    this.call("get", layer, tensor, +isGradient, plain);
    return plain;
  }

  // Row numbers from 0 to n - 1 in another order for each seed.
  shuffled(n, seed) {
    const order = BigInt64Array.from({ length: n }, (_, k) => BigInt(k));
    this.call("shuffle", order, n, seed);
    return order;
  }

  check(n, x, targets, most) {
    const rows = x.length / this.sizes[0];
    if (n < 1 || n > most || targets.length !== rows * this.width)
      throw new RangeError(`${n} rows with ${x.length} inputs and ${targets.length} targets`);
  }

  // Train on the rows of `order` once; returns the mean loss with its penalty, not finite if the training diverged.
  train(x, targets, order, rate) {
    this.check(order.length, x, targets, MOST.rows);
    return this.call("train", x, targets, order, order.length, rate);
  }

  // Compute the derivatives of the mean loss of a batch, which `get` and `neurons` return.
  gradients(x, targets, order) {
    this.check(order.length, x, targets, this.batch);
    this.call("gradients", x, targets, order, order.length);
  }

  // The outputs of a hidden layer, or dz of any layer, of the first row of that batch.
  neurons(layer, isGradient) {
    const plain = new Float32Array(this.sizes[layer + 1]);
    this.call("neurons", layer, +isGradient, plain);
    return plain;
  }

  // The mean loss of all rows, without penalty and dropout.
  evaluate(x, targets) {
    this.check(1, x, targets, 1);
    return this.call("evaluate", x, targets, x.length / this.sizes[0]);
  }

  // The predictions, or the outputs of another layer, by rows.
  predict(x, layer = this.sizes.length - 2) {
    const n = x.length / this.sizes[0];
    const out = new Float32Array(n * this.sizes[layer + 1]);
    this.call("predict", x, n, layer, out);
    return out;
  }
}
