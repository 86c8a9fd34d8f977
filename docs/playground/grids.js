// The inputs at which the pictures show a network: coordinates from -1.15 to 1.15, a little beyond the data.
export const EDGE = 1.15;
export const GRID = 60; // cells of the map on each side
export const NODE_GRID = 14; // the same of the small picture of a neuron
export const MOST_NODES = 10; // neurons drawn of a layer

// A coordinate from its share of the width of a picture.
export const valueAt = share => (2 * share - 1) * EDGE;

// The centers of the cells of a map, row by row from the top: x1, x2, x1, x2, ...
const square = side => Float32Array.from({ length: 2 * side * side }, (_, k) => {
  const cell = k >> 1;
  return k % 2 ? -valueAt((Math.floor(cell / side) + 0.5) / side) : valueAt((cell % side + 0.5) / side);
});
const line = count => Float32Array.from({ length: count }, (_, k) => valueAt(k / (count - 1)));

export const MAP = square(GRID), SMALL_MAP = square(NODE_GRID);
export const LINE = line(181), SMALL_LINE = line(NODE_GRID);
