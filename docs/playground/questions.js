// What the page asks the worker (its commands are in worker.js), and the answers, which come in the same order.
const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
const waiting = []; // the functions that take the next answers

const count = () => { document.body.dataset.waiting = waiting.length; };

// Run a command in the worker; returns its result, or throws an error with its sentence.
export function ask(command, options) {
  worker.postMessage([command, options]);
  return new Promise((resolve, reject) => {
    waiting.push({ resolve, reject });
    count();
  });
}

worker.onmessage = ({ data: { result, error } }) => {
  const { resolve, reject } = waiting.shift();
  count();
  if (error) reject(new Error(error));
  else resolve(result);
};
worker.onerror = ({ message }) => {
  for (const { reject } of waiting.splice(0))
    reject(new Error(`The playground needs a browser that runs modules in a worker${message ? `: ${message}` : "."}`));
};
