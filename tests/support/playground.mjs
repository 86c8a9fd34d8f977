// Trains the networks of a task in node: node playground.mjs FOLDER_OF_ENGINE PLAY.WASM < tasks. Prints all numbers.
import fs from "node:fs";

const [folder, wasmFile] = process.argv.slice(2);
const { load } = await import(`${folder}/engine.js`);
const { read } = await import(`${folder}/models.js`);
const engine = await load(fs.readFileSync(wasmFile));
const { cases, files } = JSON.parse(fs.readFileSync(0));
const answers = { cases: {}, files: {} };

for (const [name, task] of Object.entries(cases)) {
  const x = Float32Array.from(task.x.flat()), t = Float32Array.from(task.t.flat()), n = task.x.length;
  const orders = [], losses = [];
  const start = (dropout = task.dropout) => {
    engine.make(task.sizes, { ...task, ...task.penalties, dropout, seed: BigInt(task.seed) });
    task.weights.forEach((W, layer) => engine.set(layer, 0, W.flat()));
    task.biases.forEach((b, layer) => engine.set(layer, 1, b));
  };
  const tensors = (of, isGradient) => task.weights.map((_, layer) => [...engine.get(layer, of, isGradient)]);
  const train = (rate, seed) => losses.push(String(engine.train(x, t, engine.shuffled(n, seed), rate)));
  start(task.dropout.map(() => 0));
  const batch = engine.shuffled(n, 3).slice(0, task.batch);
  engine.gradients(x, t, batch);
  const answer = { slopes: [...tensors(0, true), ...tensors(1, true)], sloped: [...batch].map(Number) };
  engine.gradients(x, t, BigInt64Array.of(5n));
  const last = task.weights.length - 1;
  answer.neurons = task.weights.flatMap((_, k) => k < last ? [[...engine.neurons(k, false)]] : []);
  answer.dz = task.weights.map((_, k) => [...engine.neurons(k, true)]);
  answer.one = tensors(0, true);
  answer.hidden = last ? [...engine.predict(x.slice(5 * task.sizes[0], 6 * task.sizes[0]), 0)] : [];
  answer.evaluated = engine.evaluate(x, t);
  start();
  for (let epoch = 0; epoch < task.epochs; epoch++) {
    train(task.rate, epoch);
    orders.push([...engine.shuffled(n, epoch)].map(Number));
  }
  Object.assign(answer, { orders, weights: tensors(0), biases: tensors(1), losses });
  answer.predictions = [...engine.predict(x)];
  for (let k = 0; k < 9; k++) train(1e38, k);
  answer.kept = tensors(0).flat().every(Number.isFinite);
  start();
  train(task.rate, 0);
  const whole = JSON.stringify([tensors(0), tensors(1)]);
  start();
  const order = engine.shuffled(n, 0);
  for (let first = 0; first < n; first += task.batch) engine.train(x, t, order.slice(first, first + task.batch), task.rate);
  answer.inBatches = JSON.stringify([tensors(0), tensors(1)]) === whole;
  answers.cases[name] = answer;
}

for (const [file, x] of Object.entries(files)) {
  try {
    const bytes = fs.readFileSync(file);
    const model = await read(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
    engine.make(model.sizes, { ...model, optimizer: "sgd", hyper: [0, 0, 0, 0], batch: 16 });
    model.weights.forEach((W, k) => { engine.set(k, 0, W); engine.set(k, 1, model.biases[k]); });
    answers.files[file] = { ranges: model.ranges, values: [...engine.predict(Float32Array.from(x.flat()))] };
  } catch (error) {
    answers.files[file] = { error: error.message };
  }
}

const good = { activations: [], loss: "squared_error", optimizer: "sgd", hyper: [0, 0, 0, 0], batch: 1 };
const refusals = [
  [[2], {}], [[2, 129], {}], [[2, 1], { batch: 0 }], [[2, 1], { batch: 5000 }], [[2, 1], { loss: "softmax" }], [[2, 1], { l1: -1 }], [[2, 1], { l2: -1 }],
  [[2, 3, 1], {}], [[2, 3, 1], { activations: ["softmax"] }], [[2, 3, 1], { activations: ["tanh"], dropout: [1] }],
  [[2, 1], { loss: "gaussian_nll" }],
];
answers.accepted = refusals.filter(([sizes, wrong]) => {
  try {
    engine.make(sizes, { ...good, ...wrong });
    return true;
  } catch (error) {
    return !(error instanceof RangeError);
  }
});
const { rowsOf, SCENES } = await import(`${folder}/scenes.js`);
const { x, t } = rowsOf("xor", 0, [], 200);
answers.xor = { x: [...x], t: [...t] };
answers.inherited = Object.getOwnPropertyNames(Object.prototype).filter(name => SCENES[name]);
console.log(JSON.stringify(answers));
