// A network on the kernels of fastmlp, which play.pyx compiles to WebAssembly. One network exists at a time.
const LAYERS = { least: 1, most: 8 };
const MOST_ROWS = 4096;

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
    const result = this.wasm[name](...at);
    values.forEach((value, k) => {
      if (!ArrayBuffer.isView(value)) return;
      value.set(new value.constructor(this.wasm.memory.buffer, at[k], value.length)); // outputs
      this.wasm.free(at[k]);
    });
    return result;
  }

  // sizes: inputs, hidden layers, outputs; activation, loss and optimizer: names of the library's kernels;
  // hyper: the four numbers of the optimizer.
  make(sizes, { activation, loss, optimizer, hyper, batch }) {
    const layers = sizes.length - 1;
    if (layers < LAYERS.least || layers > LAYERS.most || sizes.some(size => !(size >= 1 && size <= 128)))
      throw new RangeError(`layers ${sizes}: use 1 to ${LAYERS.most} layers of 1 to 128 neurons`);
    if (!(Number.isInteger(batch) && batch >= 1 && batch <= MOST_ROWS))
      throw new RangeError(`batch ${batch}: use a whole number from 1 to ${MOST_ROWS}`);
    const text = word => new Uint8Array([...word].map(letter => letter.charCodeAt(0)).concat(0));
    const names = [activation, loss, optimizer].map(text);
    if (this.call("play_make", layers, Int32Array.from(sizes), ...names, Float64Array.from(hyper), batch))
      throw new RangeError(`unknown activation ${activation}, loss ${loss} or optimizer ${optimizer}`);
    this.sizes = sizes;
  }

  // Weights (tensor 0) by rows of inputs, or biases (tensor 1).
  set(layer, tensor, values) {
    this.call("play_set", layer, tensor, Float32Array.from(values));
  }

  get(layer, tensor) {
    const plain = new Float32Array(this.sizes[layer + 1] * (tensor ? 1 : this.sizes[layer]));
    this.call("play_get", layer, tensor, plain);
    return plain;
  }

  // Train on all rows once; returns the mean loss, not finite if the training diverged.
  train(x, targets, order, rate, seed) {
    const n = order.length;
    if (n > MOST_ROWS || x.length !== n * this.sizes[0] || targets.length !== n * this.sizes.at(-1))
      throw new RangeError(`${n} rows with ${x.length} inputs and ${targets.length} targets`);
    return this.call("play_train", x, targets, order, n, rate, seed);
  }

  predict(x) {
    const n = x.length / this.sizes[0];
    const out = new Float32Array(n * this.sizes.at(-1));
    this.call("play_predict", x, n, out);
    return out;
  }
}
