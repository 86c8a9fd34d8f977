// The worker of the page: it trains, so that the page answers at any time. Each message of the page is a command with its
// options, and gets one answer, in their order: { result } or { error }, a sentence.
//
//   command  options                                         result
//   make     settings of the data, the network, training     the points
//   open     the bytes of a saved model                      its description
//   train    step size, and when to stop                     nothing
//   set      a place in a tensor, and its new value          nothing
//   look     what the large picture shows                    all that is drawn, as arrays
import { load } from "./engine.js";
import { Trainer } from "./trainer.js";

const COMMANDS = ["make", "open", "train", "set", "look"];

async function start() {
  try {
    const answer = await fetch(new URL("play.wasm", import.meta.url));
    if (!answer.ok) throw new Error(`play.wasm: ${answer.status}`);
    return new Trainer(await load(await answer.arrayBuffer()));
  } catch (error) {
    throw new Error(`The playground needs a browser with WebAssembly SIMD, and its files: ${error.message}`);
  }
}

// The memory of the arrays in a result, which is handed over rather than copied.
const buffersIn = value => ArrayBuffer.isView(value) ? [value.buffer]
  : value && typeof value === "object" ? Object.values(value).flatMap(buffersIn) : [];

async function answer(trainer, command, options) {
  try {
    if (!COMMANDS.includes(command)) throw new RangeError(`${command} is no command: use one of ${COMMANDS.join(", ")}`);
    const result = await (await trainer)[command](options);
    postMessage({ result }, buffersIn(result));
  } catch (error) {
    postMessage({ error: error.message });
  }
}

const trainer = start();
let last = trainer.catch(() => null); // the message before; its end starts the next
onmessage = ({ data: [command, options] }) => { last = last.then(() => answer(trainer, command, options)); };
