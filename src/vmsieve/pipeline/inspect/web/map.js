
// Drawing, and what the user does: zoom, move, point, switch.
const $ = id => document.getElementById(id);
const canvas = $("map"), told = $("told"), pen = canvas.getContext("2d");
const dark = matchMedia("(prefers-color-scheme: dark)");
const hidden = new Set();  // categories
const BAYER = [0, 8, 2, 10, 12, 4, 14, 6, 3, 11, 1, 9, 15, 7, 13, 5];  // spreads sixteenths over 4 x 4 pixels
const MOST_SIDE = 48;  // CSS pixels of a cell
let level = 0, applied = false;  // the dump level, and whether what it leaves out is off
let ratio = 1, width = 0, height = 0;
let columns = 0, bands = [], rows = 0;
let left = 0, gap = 0, letter = 12;  // of addresses and zones; between bands; of text
let fitSide = 1, side = 1, aspect = 1, tall = 1;  // a cell's width in pixels; height by width, height
let panX = 0, panY = 0;  // pixels to the left of the window, and above it
let cursor = null;  // the cell pointed at
let slots, traces, off, holeColour, hatch, paper, ink, soft;

function packed(colour) {  // #rrggbb as a word of ImageData
  const n = parseInt(colour.slice(1), 16);
  return (0xff000000 | (n & 255) << 16 | n & 0xff00 | n >> 16) >>> 0;
}
function recolour() {
  const style = getComputedStyle(document.documentElement);
  [paper, ink, soft] = ["--paper", "--ink", "--soft"].map(name => style.getPropertyValue(name).trim());
  if (paper.length === 4) paper = paper.replace(/[0-9a-f]/g, "$&$&");
  const theme = dark.matches ? "dark" : "light";
  const colours = data.categories.map(one => packed(one[theme]));
  off = packed(paper);
  holeColour = colours[colours.length - 1];
  hatch = packed(dark.matches ? "#333b44" : "#d3d8de");
  const kinds = data.kinds.map(([category], kind) =>
    hidden.has(category) || applied && leftOut(kind, level) ? off : colours[category]);
  slots = new Uint32Array(mixtures.length * SHARES);
  traces = new Uint32Array(mixtures.length);
  mixtures.forEach((_, i) => {
    const painted = paint(i, kind => kinds[kind], off);
    slots.set(painted.slots, i * SHARES);
    traces[i] = painted.trace;
  });
}

// Choose the power of two of columns whose cells are most like squares when all memory fills the window.
function layout() {
  const found = canvas.getBoundingClientRect();
  ratio = window.devicePixelRatio || 1;
  width = canvas.width = Math.max(1, Math.round(found.width * ratio));
  height = canvas.height = Math.max(1, Math.round(found.height * ratio));
  letter = Math.round(Math.max(10, parseFloat(getComputedStyle(document.body).fontSize) * .8) * ratio);
  pen.font = `${letter}px ui-monospace, monospace`;
  const last = data.spans[data.spans.length - 1];
  left = Math.ceil(pen.measureText(hex(addressOf(last ? last[0] + last[1] : 0))).width + letter * .6);
  left += data.zones.length ? Math.round(letter * 3) : 0;
  let best = Infinity;
  for (let count = 32; count <= 8192; count *= 2) {
    const some = bandsOf(count);
    const all = some.reduce((sum, band) => sum + band.end - band.row, 0);
    const space = Math.min(letter * 1.5, height / 3 / Math.max(1, some.length - 1));
    const wide = Math.max(1, width - left) / count, high = (height - space * (some.length - 1)) / Math.max(1, all);
    const off = Math.abs(Math.log2(high / wide));
    if (off >= best) continue;
    [best, columns, bands, rows, gap] = [off, count, some, all, space];
    [fitSide, aspect] = [wide, Math.min(high / wide, 2)];
  }
  let at = 0;
  for (const band of bands) { band.at = at; at += band.end - band.row; }
}
function contentHeight() { return rows * tall + (bands.length - 1) * gap; }
function topOf(i) { return bands[i].at * tall + i * gap - panY; }
function zoomed() { return side > fitSide * 1.001; }
function clamp() {
  side = Math.min(Math.max(side, fitSide), Math.max(MOST_SIDE * ratio, fitSide));
  tall = side * aspect;
  panX = Math.max(0, Math.min(panX, columns * side - (width - left)));
  panY = Math.max(0, Math.min(panY, contentHeight() - height));
  canvas.classList.toggle("zoomed", zoomed());
}
// The band, row and column at a pixel, with fractions; the nearest ones if it is beside.
function placeAt(x, y) {
  let i = 0;
  while (i < bands.length - 1 && topOf(i + 1) <= y) i++;
  const most = bands[i].end - bands[i].row;
  return { i, row: Math.min(Math.max((y - topOf(i)) / tall, 0), most), column: (x - left + panX) / side };
}
function cellAt(x, y) {
  if (!bands.length || x < left) return null;
  const { i, row, column } = placeAt(x, y);
  if (column >= columns || row >= bands[i].end - bands[i].row) return null;
  return (bands[i].row + Math.floor(row)) * columns + Math.floor(column);
}
function bandOf(cell) {
  const row = Math.floor(cell / columns);
  return bands.findIndex(band => row >= band.row && row < band.end);
}
function cornerOf(cell) {
  const i = bandOf(cell);
  const row = Math.floor(cell / columns) - bands[i].row;
  return { x: left - panX + cell % columns * side, y: topOf(i) + row * tall };
}
function mixtureOf(cell) {
  const i = bandOf(cell);
  return i < 0 ? outside : bands[i].cells[cell - bands[i].row * columns];
}

function zoom(factor, x, y) {
  const { i, row, column } = placeAt(x, y);
  side *= factor;
  clamp();
  panX = column * side - (x - left);
  panY = 0;
  panY = topOf(i) + row * tall - y;
  clamp();
  redraw();
}
function zoomMiddle(factor) {
  const seen = cursor !== null && bandOf(cursor) >= 0 ? cornerOf(cursor) : null;
  const inside = seen && seen.x >= left && seen.x < width && seen.y >= 0 && seen.y < height;
  if (inside) zoom(factor, seen.x, seen.y);
  else zoom(factor, (left + width) / 2, height / 2);
}
function fit() { side = fitSide; clamp(); redraw(); }

let wanted = false;
function redraw() {
  if (wanted) return;
  wanted = true;
  requestAnimationFrame(() => { wanted = false; draw(); });
}
function draw() {
  pen.fillStyle = paper;
  pen.fillRect(0, 0, width, height);
  if (bands.length && width > left) {
    drawCells();
    drawAddresses();
    drawZones();
    if (cursor !== null && bandOf(cursor) >= 0) drawCursor();
  }
  $("scale").textContent = `1 cell = ${sizeText(cellSize)}, 1 row = ${sizeText(cellSize * columns)}`;
}
function drawCells() {
  const wide = Math.min(width - left, Math.ceil(columns * side));
  const image = pen.createImageData(wide, height), out = new Uint32Array(image.data.buffer);
  const column = new Int32Array(wide), part = new Uint8Array(wide), start = new Uint8Array(wide);
  const large = Math.min(side, tall) >= 4, grid = side >= 10 * ratio, dx = Math.floor(panX), dy = Math.floor(panY);
  for (let x = 0; x < wide; x++) {
    const at = (x + panX) / side;
    column[x] = Math.min(Math.floor(at), columns - 1);
    part[x] = large ? (at - column[x]) * 4 & 3 : x + dx & 3;
    start[x] = x === 0 || column[x] !== column[x - 1] ? 1 : 0;
  }
  bands.forEach((band, i) => {
    const top = topOf(i), end = Math.min(height, Math.round(top + (band.end - band.row) * tall));
    let before = -1;
    for (let y = Math.max(0, Math.round(top)); y < end; y++) {
      const at = Math.max(0, (y + .5 - top) / tall);
      const row = Math.min(Math.floor(at), band.end - band.row - 1), base = row * columns;
      const begins = row !== before;
      before = row;
      const line = y * wide, down = (large ? (at - row) * 4 & 3 : y + dy & 3) << 2;
      for (let x = 0; x < wide; x++) {
        const mixture = band.cells[base + column[x]], slot = down | part[x];
        let colour = slots[mixture << 4 | (large ? slot : BAYER[slot])];
        if (traces[mixture] && (large ? slot === 0 : begins && start[x])) colour = traces[mixture];
        if (grid && (begins || start[x])) colour = off;
        if (colour === holeColour && (x + dx + y + dy) % 9 < 2) colour = hatch;
        out[line + x] = colour;
      }
    }
  });
  pen.putImageData(image, left, 0);
}
function drawAddresses() {
  pen.font = `${letter}px ui-monospace, monospace`;
  pen.textBaseline = "top";
  pen.textAlign = "right";
  const right = left - letter * (data.zones.length ? 3.3 : .3);
  let free = 0;
  bands.forEach((band, i) => {
    const top = topOf(i), every = Math.max(1, 2 ** Math.ceil(Math.log2(letter * 2.2 / tall)));
    const from = Math.max(0, Math.floor(-top / tall)), to = Math.min(band.end - band.row, (height - top) / tall);
    for (let row = from; row < to; row++) {
      const y = top + row * tall;
      if ((row && (band.row + row) % every) || y < free || y < -1 || y + letter > height) continue;
      pen.fillStyle = soft;
      pen.fillText(hex(addressOf((band.row + row) * columns)), right, y);
      free = y + letter * 1.2;
    }
    if (i && gap >= letter && top > 0 && top < height + gap) {
      pen.textAlign = "left";
      pen.fillStyle = soft;
      const size = (band.row - bands[i - 1].end) * columns * cellSize;
      pen.fillText(`⋯ hole of ${sizeText(size)}`, left + letter * .3, top - gap + (gap - letter) / 2);
      pen.textAlign = "right";
    }
  });
}
// Two strips beside the rows, of nodes and of zones; a line in the map where one begins.
function drawZones() {
  drawStrip(data.nodes, 2, one => [`node ${one.node}`, String(one.node)]);
  drawStrip(data.zones, 1, one => [one.zone]);
  data.zones.forEach(zone => boundary(zone.first, data.nodes.some(node => node.first === zone.first)));
}
function drawStrip(list, place, names) {
  const strip = Math.round(letter * 1.3), shades = dark.matches ? ["#44505c", "#2c353e"] : ["#b9c4cf", "#dde3e9"];
  const x = left - strip * place - letter * .2;
  list.forEach((one, number) => bands.forEach((band, i) => {
    const low = Math.max(0, Math.floor(one.first / cellPages / columns - band.row));
    const high = Math.min(band.end - band.row, Math.ceil(one.end / cellPages / columns - band.row));
    if (low >= high) return;
    const y = topOf(i) + low * tall, size = Math.max(1, (high - low) * tall);
    pen.fillStyle = shades[number % 2];
    pen.fillRect(x, y, strip - 1, size);
    const start = Math.max(y, 0), seen = Math.min(y + size, height) - start;
    const room = name => name.length < 3 ? letter : name.length * letter * .62 + 4;
    const name = names(one).find(some => room(some) <= seen);
    if (name === undefined) return;
    pen.save();
    pen.translate(x + strip / 2, start + seen / 2);
    if (name.length > 2) pen.rotate(-Math.PI / 2);
    [pen.textAlign, pen.textBaseline, pen.fillStyle] = ["center", "middle", ink];
    pen.fillText(name, 0, 0);
    pen.restore();
  }));
}
function boundary(pfn, ofNode) {
  const cell = Math.floor(pfn / cellPages);
  if (pfn === 0 || bandOf(cell) < 0) return;
  const { x, y } = cornerOf(cell), right = Math.min(width, left - panX + columns * side);
  const line = () => {
    pen.beginPath();
    if (x > left) { pen.moveTo(left, y + tall); pen.lineTo(Math.min(x, right), y + tall); }
    if (x > left && x < right) pen.lineTo(x, y);
    pen.moveTo(Math.max(left, x), y);
    pen.lineTo(right, y);
    pen.stroke();
  };
  pen.save();
  pen.beginPath();
  pen.rect(left, 0, right - left, height);
  pen.clip();
  [pen.strokeStyle, pen.lineWidth] = [paper, (ofNode ? 3.5 : 2.5) * ratio];
  line();
  [pen.strokeStyle, pen.lineWidth] = [ink, (ofNode ? 1.5 : .8) * ratio];
  line();
  pen.restore();
}
function drawCursor() {
  const { x, y } = cornerOf(cursor), least = 7 * ratio, wide = Math.max(side, least), high = Math.max(tall, least);
  if (x + side < left) return;
  [[paper, 4], [ink, 2]].forEach(([colour, thick]) => {
    [pen.strokeStyle, pen.lineWidth] = [colour, thick * ratio];
    pen.strokeRect(x - (wide - side) / 2, y - (high - tall) / 2, wide, high);
  });
}
