
function line(text, name = "") {
  const one = document.createElement("div");
  one.className = name;
  one.append(text);
  return one;
}
// Consecutive cells whose first kind is of one category.
function regionOf(cell) {
  const most = id => mixtures[id].reduce((a, b) => b[1] > a[1] ? b : a)[0];
  const category = id => data.kinds[most(id)][0];
  const band = bands[bandOf(cell)], base = band.row * columns, kind = category(mixtureOf(cell));
  let low = cell - base, high = low + 1;
  while (low > 0 && category(band.cells[low - 1]) === kind) low--;
  while (high < band.cells.length && category(band.cells[high]) === kind) high++;
  return [base + low, base + high];
}
function describe(cell) {
  const start = addressOf(cell), end = start + BigInt(cellSize) - 1n, title = document.createElement("b");
  title.append(cellPages === 1 ? hex(start) : `${hex(start)} – ${hex(end)}`);
  const pfn = cell * cellPages;
  told.replaceChildren(title, line(cellPages === 1 ? `pfn ${hex(pfn)} (${pfn})` :
    `pfn ${hex(pfn)} – ${hex(pfn + cellPages - 1)}, ${cellPages.toLocaleString("en")} pages`));
  const zones = data.zones.filter(zone => zone.first < pfn + cellPages && zone.end > pfn);
  if (zones.length) told.append(line(zones.slice(0, 4).map(zone => `node ${zone.node}, zone ${zone.zone}`).join("; ")));
  const parts = new Map();
  for (const [kind, share] of mixtures[mixtureOf(cell)]) {
    const category = data.kinds[kind][0], found = parts.get(category) || [0, 0];
    parts.set(category, [found[0] + share, found[1] + (leftOut(kind, level) ? share || .1 : 0)]);
  }
  for (const [category, [share, out]] of parts) {
    const one = data.categories[category], swatch = document.createElement("span");
    swatch.className = "swatch";
    swatch.style.setProperty("--light", one.light);
    swatch.style.setProperty("--dark", one.dark);
    const about = share === SHARES ? "" : share ? ` about ${Math.round(share / SHARES * 100)} %` : " less than 4 %";
    const left = !applied || !out ? "" : out >= share ? " – left out" : " – partly left out";
    const shown = line(swatch, "part");
    shown.append(one.title + about + left);
    told.append(shown);
  }
  const [low, high] = regionOf(cell);
  if (high - low > 1) {
    const size = sizeText((high - low) * cellSize);
    told.append(line(`alike: ${hex(addressOf(low))} – ${hex(addressOf(high) - 1n)}, ${size}`));
  }
}
function point(cell, docked) {
  cursor = cell;
  told.hidden = cell === null || bandOf(cell) < 0;
  if (!told.hidden) {
    describe(cell);
    told.classList.toggle("docked", docked);
    const { x, y } = cornerOf(cell), wide = canvas.clientWidth, high = canvas.clientHeight;
    const right = (x + side) / ratio + 14, below = (y + tall) / ratio + 14;
    const over = right + told.offsetWidth > wide ? x / ratio - told.offsetWidth - 14 : right;
    told.style.left = docked ? "" : Math.max(0, over) + "px";
    told.style.top = docked ? "" : Math.max(0, Math.min(below, high - told.offsetHeight)) + "px";
  }
  redraw();
}
function reveal(cell) {  // move the window so that it shows the cell
  const { x, y } = cornerOf(cell);
  if (x < left || x + side > width) panX += x - (left + width) / 2;
  if (y < 0 || y + tall > height) panY += y - height / 2;
  clamp();
}
function step(by) {
  const some = cursor !== null && bandOf(cursor) >= 0 ? cursor : cellAt(left, 0);
  let to = cursor === null ? some : some + by;
  if (bandOf(to) < 0) {  // over the hole between two bands
    const i = bandOf(some) + (by > 0 ? 1 : -1);
    if (!bands[i]) return;
    to = by > 0 ? bands[i].row * columns : bands[i].end * columns - 1;
  }
  reveal(to);
  point(to, false);
}

const fingers = new Map();
let pressed = null, spread = 0;
const pixels = event => {
  const box = canvas.getBoundingClientRect();
  return [(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio];
};
canvas.addEventListener("pointerdown", event => {
  const [x, y] = pixels(event);
  fingers.set(event.pointerId, [x, y]);
  pressed = fingers.size === 1 ? { x, y, panX, panY, moved: false } : null;
  spread = 0;
  canvas.setPointerCapture(event.pointerId);
});
canvas.addEventListener("pointermove", event => {
  const [x, y] = pixels(event);
  if (fingers.has(event.pointerId)) fingers.set(event.pointerId, [x, y]);
  if (fingers.size === 2) {
    const [[ax, ay], [bx, by]] = [...fingers.values()], now = Math.hypot(ax - bx, ay - by);
    if (spread) zoom(now / spread, (ax + bx) / 2, (ay + by) / 2);
    spread = now;
  } else if (pressed) {
    pressed.moved = pressed.moved || Math.hypot(x - pressed.x, y - pressed.y) > 5 * ratio;
    if (!pressed.moved) return;
    canvas.classList.add("dragged");
    panX = pressed.panX + pressed.x - x;
    panY = pressed.panY + pressed.y - y;
    clamp();
    redraw();
  } else if (event.pointerType === "mouse") point(cellAt(x, y), false);
});
function release(event) {
  const tapped = event.type === "pointerup" && pressed && !pressed.moved;
  fingers.delete(event.pointerId);
  pressed = null;
  canvas.classList.remove("dragged");
  if (tapped) point(cellAt(...pixels(event)), event.pointerType !== "mouse");
}
canvas.addEventListener("pointerup", release);
canvas.addEventListener("pointercancel", release);
canvas.addEventListener("pointerleave", event => { if (event.pointerType === "mouse") point(null, false); });
document.addEventListener("pointerdown", event => { if (event.target !== canvas) point(null, false); });
canvas.addEventListener("wheel", event => {
  event.preventDefault();
  const lines = event.deltaY * (event.deltaMode ? 30 : 1);
  zoom(Math.exp(-Math.max(-300, Math.min(lines, 300)) / 300), ...pixels(event));
}, { passive: false });
canvas.addEventListener("dblclick", event => zoom(2, ...pixels(event)));

const KEYS = {
  ArrowLeft: () => step(-1), ArrowRight: () => step(1), ArrowUp: () => step(-columns), ArrowDown: () => step(columns),
  PageUp: () => step(-16 * columns), PageDown: () => step(16 * columns),
  Home: () => { cursor = bands[0].row * columns; step(0); },
  End: () => { cursor = bands[bands.length - 1].end * columns - 1; step(0); },
  "+": () => zoomMiddle(1.5), "=": () => zoomMiddle(1.5), "-": () => zoomMiddle(1 / 1.5), 0: fit,
  "[": () => setLevel(level - 1), "]": () => setLevel(level + 1), Escape: () => point(null, false),
};
canvas.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in KEYS) || !bands.length) return;
  event.preventDefault();
  KEYS[event.key]();
});
$("in").onclick = () => zoomMiddle(2);
$("out").onclick = () => zoomMiddle(.5);
$("fit").onclick = fit;
$("goto").onsubmit = event => {
  event.preventDefault();
  const text = $("address").value.trim().replace(/^0x/i, "");
  const cell = /^[0-9a-f]{1,16}$/i.test(text) ? Number(BigInt("0x" + text) / BigInt(cellSize)) : -1;
  const there = cell >= 0 && bandOf(cell) >= 0;
  $("address").setCustomValidity(there ? "" : "no memory at this address");
  $("address").reportValidity();
  if (!there) return;
  if (side < 8 * ratio) side = 8 * ratio;
  clamp();
  reveal(cell);
  point(cell, false);
};
$("address").oninput = () => $("address").setCustomValidity("");

function setLevel(to, on = true) {
  applied = on;
  $("apply").checked = on;
  level = Math.max(0, Math.min(31, to));
  $("level").value = level;
  $("number").textContent = level;
  document.querySelectorAll("[data-bit]").forEach(box => { box.checked = (level & box.dataset.bit) !== 0; });
  const [pages, size] = data.levels[level], whole = data.levels[0][0];
  const share = whole ? Math.round(pages / whole * 1000) / 10 : 0;
  $("keeps").textContent = `Level ${level} keeps ${pages.toLocaleString("en")} pages (${sizeText(pages * data.pageSize)}` +
    `, ${share} %); the dump has about ${sizeText(size)}.`;
  document.querySelectorAll("[data-category]").forEach(box => {
    const kinds = data.kinds.map((kind, i) => [kind, i]).filter(([kind]) => kind[0] === Number(box.dataset.category));
    box.closest("li").classList.toggle("left-out", applied && kinds.length > 0 && kinds.every(([, i]) => leftOut(i, level)));
  });
  recolour();
  if (cursor !== null && !told.hidden) describe(cursor);
  redraw();
}
$("level").oninput = event => setLevel(Number(event.target.value));
$("apply").onchange = event => setLevel(level, event.target.checked);
document.querySelectorAll("[data-bit]").forEach(box => {
  box.onchange = () => setLevel(level ^ Number(box.dataset.bit));
});
const switches = [...document.querySelectorAll("[data-category]")];
function show(test) {
  hidden.clear();
  for (const box of switches) {
    box.checked = test(box);
    if (!box.checked) hidden.add(Number(box.dataset.category));
  }
  recolour();
  redraw();
}
switches.forEach(box => {
  box.onchange = () => show(one => one.checked);
  box.closest("li").querySelector("button").onclick = () => show(one => one === box);
});
$("every").onclick = () => show(() => true);

dark.addEventListener("change", () => { recolour(); redraw(); });
new ResizeObserver(() => {
  const times = side / fitSide, corner = zoomed() ? cellAt(left, 0) : null;
  layout();
  side = fitSide * times;
  clamp();
  if (corner !== null && bandOf(corner) >= 0) {  // stays there
    [panX, panY] = [0, 0];
    const { x, y } = cornerOf(corner);
    [panX, panY] = [x - left, y];
    clamp();
  }
  if (!told.hidden) point(cursor, told.classList.contains("docked"));
  draw();
}).observe(canvas);
setLevel(31, false);
layout();
fit();
