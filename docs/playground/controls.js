// Controls beside the fields of the form: pictures of the data, features, layers; the link, and the theme.
import { drawData } from "./pictures.js";
import { DATA, FEATURES, hasNumbers, rowsOf, SCENES } from "./scenes.js";

const MOST_LAYERS = 6, FIRST_SIZE = 4, MOST_POINTS = 200; // of own points in a link
const OTHERS = ["own", "seed", "sample", "weights"]; // keys of a link that are no fields
const SHOWN_ROWS = 150; // in the picture of a data set

// Set a field of the form as if a visitor had.
export function change(field, value) {
  field.value = value;
  field.dispatchEvent(new Event("change", { bubbles: true }));
}

function button(text, label, act) {
  const made = Object.assign(document.createElement("button"), { type: "button", textContent: text });
  made.setAttribute("aria-label", label);
  made.addEventListener("click", act);
  return made;
}

// Put other buttons or boxes into a place; the one at the position of the focus gets the focus.
function replace(place, made) {
  const all = () => [...place.querySelectorAll("button, input")];
  const at = all().indexOf(document.activeElement);
  place.replaceChildren(...made);
  all()[at]?.focus();
}

// The pictures of the data sets; a click chooses one.
export function offerData(place, field) {
  place.replaceChildren(...Object.keys(DATA).filter(name => DATA[name].row).map(name => {
    const picture = Object.assign(document.createElement("canvas"), { width: 40, height: 40 });
    const made = button("", DATA[name].title, () => change(field, name));
    made.dataset.name = name;
    made.append(picture);
    drawData(picture, rowsOf(name, 0, [], SHOWN_ROWS), DATA[name].inputs, hasNumbers(name));
    return made;
  }));
}

// A picture of the data above the name of each scene.
export function offerScenes(links) {
  for (const link of links) {
    const { data } = SCENES[link.hash.slice("#scene=".length)], picture = document.createElement("canvas");
    Object.assign(picture, { width: 40, height: 40 });
    drawData(picture, rowsOf(data, 0, [], SHOWN_ROWS), DATA[data].inputs, hasNumbers(data));
    link.prepend(picture);
  }
}

// Boxes for the features of inputs; the hidden field has the chosen names.
export function offerFeatures(place, field, inputs) {
  const names = Object.keys(FEATURES).filter(name => inputs === 2 || !/2|product/.test(name));
  const chosen = chosenFeatures(field.value, inputs);
  replace(place, names.map(name => {
    const label = document.createElement("label");
    const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: chosen.includes(name) });
    box.addEventListener("change", event => {
      event.stopPropagation();
      const now = names.filter(each => each === name ? box.checked : chosen.includes(each));
      if (now.length) change(field, now.join());
      else box.checked = true; // a network has an input
    });
    label.append(box, ` ${FEATURES[name][0]}`);
    return label;
  }));
}

// The names of the features in the field's text; the inputs themselves if none is written.
export function chosenFeatures(text, inputs) {
  const found = text.split(",").filter(name => name in FEATURES && (inputs === 2 || !/2|product/.test(name)));
  return found.length ? found : ["x1", "x2"].slice(0, inputs);
}

// Buttons that change the text of the layers: fewer or more layers, and neurons of each.
export function offerLayers(place, field, sizes) {
  const set = now => change(field, now.join(", "));
  const resized = (k, by) => sizes.map((size, l) => l === k ? Math.max(1, size + by) : size);
  replace(place, [
    button("− layer", "Remove the last layer", () => set(sizes.slice(0, -1))),
    button("+ layer", "Add a layer", () => sizes.length < MOST_LAYERS && set([...sizes, sizes.at(-1) ?? FIRST_SIZE])),
    ...sizes.flatMap((size, k) => [
      button("−", `A neuron less in layer ${k + 1}`, () => set(resized(k, -1))),
      Object.assign(document.createElement("span"), { textContent: size }),
      button("+", `A neuron more in layer ${k + 1}`, () => set(resized(k, 1))),
    ]),
  ]);
}

// The scene of an address, its settings where they differ from the scene's, and own points.
export function settingsIn(address) {
  const asked = new URLSearchParams(address.slice(1));
  const scene = asked.get("scene") in SCENES ? asked.get("scene") : "xor";
  const values = { ...SCENES[scene] };
  for (const name of Object.keys(values)) if (asked.has(name)) values[name] = asked.get(name);
  for (const fixed of ["task", "chapter"]) values[fixed] = SCENES[scene][fixed];
  if (!(values.data in DATA)) values.data = SCENES[scene].data;
  const points = (asked.get("own") ?? "").split("_").map(point => point.split("~").map(Number))
    .filter(point => point.length === 3 && point.every(Number.isFinite) && [0, 1].includes(point[2])).slice(0, MOST_POINTS);
  const whole = name => Math.min(Math.max(1, Math.floor(Number(asked.get(name))) || 1), 1e9);
  const known = [...Object.keys(SCENES[scene]), "scene", ...OTHERS], unknown = [...asked.keys()].filter(name => !known.includes(name));
  const weights = asked.has("weights") ? asked.get("weights").split("_").map(Number) : null;
  return { scene, values, points, seed: whole("seed"), sample: whole("sample"), weights, unknown };
}

// The address of settings, from which `settingsIn` reads them.
export function addressOf({ scene, points, seed, sample }, fields, weights = null) {
  const asked = new URLSearchParams({ scene });
  for (const [name, value] of Object.entries(SCENES[scene]))
    if (fields[name] && fields[name].value !== String(value)) asked.set(name, fields[name].value);
  if (fields.data.value === "own" && points.length)
    asked.set("own", points.slice(0, MOST_POINTS).map(([x, y, label]) => `${x.toFixed(2)}~${y.toFixed(2)}~${label}`).join("_"));
  for (const [name, value] of Object.entries({ seed, sample })) if (value !== 1) asked.set(name, value);
  if (weights) asked.set("weights", weights.map(weight => Number(weight.toPrecision(6))).join("_"));
  return `#${asked}`;
}

// Show the theme that the visitor chose on a page of the site, or that of the system. A browser that blocks cookies
// stores no choice.
export function showTheme(isOther = false) {
  const page = document.documentElement.dataset, others = { __proto__: null, dark: "light", light: "dark" };
  let theme = isOther ? others[page.theme] : null;
  try {
    theme ??= localStorage.getItem("mode");
    if (isOther) for (const key of ["mode", "theme"]) localStorage.setItem(key, theme);
  } catch { /* the choice holds on this page alone */ }
  page.theme = theme in others ? theme : matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}
