
// The page's data: cells with a mixture of kinds each, and what a dump level or the legend switches off.
const data = JSON.parse(document.getElementById("data").textContent);
const cellPages = 2 ** data.shift, cellSize = cellPages * data.pageSize;
const SHARES = 16, ALWAYS = 32;

function bytesOf(text) {
  const letters = atob(text), bytes = new Uint8Array(letters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = letters.charCodeAt(i);
  return bytes;
}

// Of each mixture: [[kind, share in sixteenths], ...]; a share of 0 is a trace.
function unpackMixtures(bytes) {
  const found = [];
  for (let at = 0; at < bytes.length;) {
    const parts = [];
    for (let left = bytes[at++]; left; left--, at += 2) parts.push([bytes[at], bytes[at + 1]]);
    found.push(parts);
  }
  return found;
}

// The mixture of each cell of all spans, one after the other.
function unpackCells(bytes, count) {
  const cells = new Uint16Array(count);
  let at = 0, cell = 0;
  const number = () => {
    let value = 0, scale = 1, byte;
    do { byte = bytes[at++]; value += (byte & 127) * scale; scale *= 128; } while (byte & 128);
    return value;
  };
  while (at < bytes.length) {
    const mixture = number(), end = cell + number();
    cells.fill(mixture, cell, end);
    cell = end;
  }
  return cells;
}

const mixtures = unpackMixtures(bytesOf(data.mixtures));
const hole = data.kinds.length - 1;  // the last kind
const outside = mixtures.push([[hole, SHARES]]) - 1;  // cells of no span
const cells = unpackCells(bytesOf(data.runs), data.spans.reduce((sum, span) => sum + span[1], 0));

// Does a dump of this level leave out pages of a kind?
function leftOut(kind, level) {
  const drops = data.kinds[kind][1];
  if (level < 2 && !data.always) return (drops & level & 1) !== 0;  // levels 0 and 1 read no struct pages
  return (drops & (level | ALWAYS)) !== 0;
}

// Bands of whole rows, each with the mixtures of its cells. Spans nearly next to each other share one.
function bandsOf(columns) {
  const bands = [];
  let place = 0;
  for (const [first, count] of data.spans) {
    const row = Math.floor(first / columns), end = Math.ceil((first + count) / columns);
    const last = bands[bands.length - 1];
    if (last && row <= last.end + 2) last.end = end;
    else bands.push({ row, end, parts: [] });
    bands[bands.length - 1].parts.push([first, place, count]);
    place += count;
  }
  for (const band of bands) {
    band.cells = new Uint16Array((band.end - band.row) * columns).fill(outside);
    for (const [first, from, count] of band.parts) {
      band.cells.set(cells.subarray(from, from + count), first - band.row * columns);
    }
  }
  return bands;
}

// Colours of each mixture's sixteenths; and the colour of a trace that shows where all else is switched off.
function paint(mixture, colourOf, off) {
  const slots = [];
  let trace = 0, shown = false;
  for (const [kind, share] of mixtures[mixture]) {
    const colour = colourOf(kind);
    for (let i = 0; i < share; i++) slots.push(colour);
    if (colour !== off && kind !== hole) {
      if (share) shown = true;
      else trace = colour;
    }
  }
  return { slots, trace: shown ? 0 : trace };
}

function hex(number) { return "0x" + number.toString(16); }
function addressOf(cell) { return BigInt(cell) * BigInt(cellSize); }
function sizeText(size) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let unit = 0;
  while (size >= 1024 && unit < 5) { size /= 1024; unit++; }
  return (size < 100 && size % 1 ? size.toFixed(1) : Math.round(size)) + " " + units[unit];
}
