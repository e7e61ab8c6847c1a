// Wiring: selection, search, keyboard, pointer.

const search = document.getElementById("search");
const results = document.getElementById("results");
const status = document.getElementById("status");
let found = [];
let active = -1;

function rebuild(anchor) {
  const before = anchor && nodeAt(anchor);
  const kept = before && { x: before.x, y: before.y };
  scene = layout(buildGraph());
  const after = kept && nodeAt(anchor);
  if (after) {
    view.x += after.x - kept.x;
    view.y += after.y - kept.y;
  }
  redraw();
}

function nodeAt(key) {
  return scene.nodes.get(key) || childNode(key);
}

function toggle(group, part) {
  const key = `g${group}.${part}`;
  if (opened.has(group)) opened.delete(group);
  else opened.add(group);
  rebuild(key);
  select(key);
}

/** Select a node and say what it is; null shows the summary. */
function select(key) {
  selected = key;
  const node = key && nodeAt(key);
  if (!node) {
    selected = null;
    showSummary();
  } else if (node.group) {
    showGroup(node.group, node.part);
    status.textContent = `${groupTitle(node.group)}, ${node.group.role} ${node.group.tensor}, ${opened.has(node.group.id) ? "open" : "folded"}`;
  } else {
    const op = node.op || node.ops[0];
    showOperator(op);
    status.textContent = `${op.kind}, ${PARTS[op.part]}, ${opDetail(op)}`;
  }
  panel.scrollTop = 0;
  redraw();
}

/** Select a node, open what hides it, and bring it into view. */
function go(key) {
  const [, kind, id, part] = /^([og])(\d+)(?:\.(\d))?$/.exec(key);
  const op = kind === "o" ? ops[id] : null;
  const shownPart = op ? op.part : Number(part);
  let changed = false;
  if (hidden.has(shownPart)) {
    hidden.delete(shownPart);
    showParts();
    changed = true;
  }
  if (op && op.group >= 0 && !opened.has(op.group)) {
    opened.add(op.group);
    changed = true;
  }
  if (changed) rebuild();
  draw(); // places the operators of open quantizers
  const node = nodeAt(key);
  if (!node) return;
  if (view.scale < 0.5) view.scale = 0.9;
  center(node.x, node.y);
  select(key);
}

function center(x, y) {
  view.x = x - canvas.clientWidth / view.scale / 2;
  view.y = y - canvas.clientHeight / view.scale / 2;
}

function fit() {
  const wide = canvas.clientWidth - 80;
  view.scale = Math.min(1, Math.max(0.05, Math.min(wide / scene.width, (canvas.clientHeight - 60) / scene.height)));
  center(scene.width / 2, scene.height / 2);
  redraw();
}

/** The top of the graph, large enough to be read. */
function start() {
  const wide = canvas.clientWidth - 90;
  const first = scene.zones.find(Boolean);
  view.scale = Math.min(1, Math.max(0.6, wide / (first ? first.width : scene.width)));
  if (wide / scene.width > view.scale) view.scale = Math.min(1, wide / scene.width);
  const width = scene.width * view.scale;
  const node = scene.nodes.values().next().value;
  if (width <= wide) view.x = scene.width / 2 - canvas.clientWidth / view.scale / 2;
  else view.x = Math.max(-30 / view.scale, node ? node.x - canvas.clientWidth / view.scale / 2 : 0);
  view.y = -48 / view.scale;
  redraw();
}

function zoom(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
  const scale = Math.min(4, Math.max(0.02, view.scale * factor));
  view.x += x / view.scale - x / scale;
  view.y += y / view.scale - y / scale;
  view.scale = scale;
  redraw();
}

function hit(event) {
  const box = canvas.getBoundingClientRect();
  const x = view.x + (event.clientX - box.left) / view.scale, y = view.y + (event.clientY - box.top) / view.scale;
  const on = (n) => Math.abs(n.x - x) <= n.width / 2 && Math.abs(n.y - y) <= n.height / 2;
  for (const node of scene.nodes.values()) {
    if (on(node)) return (node.children && node.children.find(on)) || node;
  }
  return null;
}

function press(node) {
  if (!node) select(null);
  else if (node.group && !node.op) toggle(node.group.id, node.part);
  else select(node.key);
}

// -- parts -------------------------------------------------------------------------------------

const present = PARTS.map((_, part) => ops.some((op) => op.part === part));

function showParts() {
  const box = document.getElementById("parts");
  box.replaceChildren(...PARTS.map((name, part) => present[part] && make("button", {
    type: "button", "aria-pressed": String(!hidden.has(part)), title: `Show or hide (${part + 1})`,
    onclick: () => switchPart(part),
  }, name[0].toUpperCase() + name.slice(1))).filter(Boolean));
}

function switchPart(part) {
  if (!present[part]) return;
  if (hidden.has(part)) hidden.delete(part);
  else if (present.filter((p, i) => p && !hidden.has(i)).length > 1) hidden.add(part);
  showParts();
  rebuild(selected);
}

function foldAll() {
  if (opened.size) opened.clear();
  else groups.forEach((g) => opened.add(g.id));
  document.getElementById("fold").textContent = opened.size ? "Fold all" : "Open all";
  const middle = scene.height ? (view.y + canvas.clientHeight / view.scale / 2) / scene.height : 0;
  rebuild(selected);
  if (!selected) view.y = middle * scene.height - canvas.clientHeight / view.scale / 2;
  redraw();
}

// -- search ------------------------------------------------------------------------------------

const entries = [
  ...groups.map((g) => ({
    key: `g${g.id}.${g.role === "gradient" ? 1 : 0}`, title: g.tensor, note: `${groupTitle(g)} · ${g.role}`,
    text: `${g.tensor} ${g.copy} ${g.quantizer}`.toLowerCase(),
  })),
  ...ops.map((op) => ({
    key: `o${op.id}`, title: op.writes.length ? op.writes[0].name : op.kind, note: `${op.kind} · ${PARTS[op.part]}`,
    text: [op.kind, ...op.writes.map((v) => v.name), ...op.reads.filter((v) => v.persistable).map((v) => v.name)].join(" ").toLowerCase(),
  })),
];

function find() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  found = words.length ? entries.filter((e) => words.every((w) => e.text.includes(w))) : [];
  const whole = search.value.trim().toLowerCase();
  const score = (e) => (e.title.toLowerCase() === whole ? 0 : e.text.startsWith(whole) ? 1 : 2);
  found = found.map((e, i) => [score(e), i, e]).sort((a, b) => a[0] - b[0] || a[1] - b[1]).map((e) => e[2]).slice(0, 50);
  active = found.length ? 0 : -1;
  showResults(words.length > 0);
}

function showResults(visible) {
  const items = found.map((entry, i) => {
    const item = make("li", { role: "option", id: `result-${i}`, "aria-selected": String(i === active) },
      entry.title, make("small", {}, entry.note));
    item.addEventListener("pointerdown", (event) => event.preventDefault());
    item.addEventListener("click", () => choose(i));
    return item;
  });
  if (!items.length) items.push(make("li", { class: "quiet" }, "Nothing found"));
  results.replaceChildren(...items);
  results.hidden = !visible;
  search.setAttribute("aria-expanded", String(visible));
  search.setAttribute("aria-activedescendant", active >= 0 ? `result-${active}` : "");
  if (active >= 0) results.children[active].scrollIntoView({ block: "nearest" });
}

function choose(i) {
  if (!found[i]) return;
  showResults(false);
  go(found[i].key);
  canvas.focus();
}

search.addEventListener("input", find);
search.addEventListener("focus", () => search.value && find());
search.addEventListener("blur", () => showResults(false));
search.addEventListener("keydown", (event) => {
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    active = Math.max(0, Math.min(found.length - 1, active + (event.key === "ArrowDown" ? 1 : -1)));
    showResults(true);
    event.preventDefault();
  } else if (event.key === "Enter") {
    choose(active);
    event.preventDefault();
  } else if (event.key === "Escape") {
    search.value = "";
    showResults(false);
    canvas.focus();
  }
});

// -- keyboard and pointer ----------------------------------------------------------------------

/** The nearest node in a direction; one that is linked counts as nearer. */
function step(dx, dy) {
  const here = selected && nodeAt(selected);
  if (!here) return scene.nodes.size ? go(scene.nodes.values().next().value.key) : undefined;
  const linked = new Set(here.out ? [...here.out.map((e) => e.to), ...here.in.map((e) => e.from)] : []);
  let best = null, least = Infinity;
  const around = here.parent ? here.parent.children : [...scene.nodes.values()];
  for (const node of around) {
    const along = (node.x - here.x) * dx + (node.y - here.y) * dy;
    const aside = Math.abs((node.x - here.x) * dy) + Math.abs((node.y - here.y) * dx);
    if (node === here || along < 1) continue;
    if (dx && aside > along && !linked.has(node)) continue;
    const far = (along + 2 * aside) * (linked.has(node) ? 0.5 : 1);
    if (far < least) [best, least] = [node, far];
  }
  if (!best && here.parent) best = here.parent;
  if (best) go(best.key);
}

const MOVES = { ArrowDown: [0, 1], ArrowUp: [0, -1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };

canvas.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (MOVES[event.key]) step(...MOVES[event.key]);
  else if (event.key === "Enter" || event.key === " ") selected && press(nodeAt(selected));
  else if (event.key === "Escape") select(null);
  else return;
  event.preventDefault();
});

document.addEventListener("keydown", (event) => {
  if (event.target instanceof HTMLInputElement || event.ctrlKey || event.metaKey || event.altKey) return;
  const keys = {
    "/": () => search.focus(), "+": () => zoom(1.25), "=": () => zoom(1.25), "-": () => zoom(0.8), 0: fit, f: foldAll,
    1: () => switchPart(0), 2: () => switchPart(1), 3: () => switchPart(2),
  };
  if (!keys[event.key]) return;
  keys[event.key]();
  event.preventDefault();
});

let drag = null;
canvas.addEventListener("pointerdown", (event) => {
  drag = { x: event.clientX, y: event.clientY, moved: false };
  canvas.setPointerCapture(event.pointerId);
});
canvas.addEventListener("pointermove", (event) => {
  if (!drag) {
    const node = hit(event);
    if ((node && node.key) !== over) {
      over = node ? node.key : null;
      canvas.classList.toggle("over", Boolean(node));
      redraw();
    }
    return;
  }
  const dx = event.clientX - drag.x, dy = event.clientY - drag.y;
  if (!drag.moved && Math.hypot(dx, dy) < 4) return;
  drag = { x: event.clientX, y: event.clientY, moved: true };
  canvas.classList.add("moving");
  view.x -= dx / view.scale;
  view.y -= dy / view.scale;
  redraw();
});
canvas.addEventListener("pointerup", (event) => {
  canvas.classList.remove("moving");
  if (drag && !drag.moved) press(hit(event));
  drag = null;
});
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  const lines = event.deltaMode ? 30 : 1;
  const box = canvas.getBoundingClientRect();
  if (event.ctrlKey || event.metaKey) {
    zoom(Math.exp(-event.deltaY * lines * 0.004), event.clientX - box.left, event.clientY - box.top);
    return;
  }
  view.x += ((event.shiftKey ? event.deltaY : event.deltaX) * lines) / view.scale;
  view.y += ((event.shiftKey ? 0 : event.deltaY) * lines) / view.scale;
  redraw();
}, { passive: false });

function jump(event) {
  const box = map.getBoundingClientRect();
  center(((event.clientX - box.left) / box.width) * scene.width, ((event.clientY - box.top) / box.height) * scene.height);
  redraw();
}
map.addEventListener("pointerdown", (event) => { map.setPointerCapture(event.pointerId); jump(event); });
map.addEventListener("pointermove", (event) => event.buttons && jump(event));

document.getElementById("zoom-in").addEventListener("click", () => zoom(1.25));
document.getElementById("zoom-out").addEventListener("click", () => zoom(0.8));
document.getElementById("zoom-fit").addEventListener("click", fit);
document.getElementById("fold").addEventListener("click", foldAll);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readColours(); redraw(); });
new ResizeObserver(redraw).observe(canvas);

const legend = [["float", "float", 0], ["integer", "quantized inputs", 0], ["quantizer", "quantizer", -1], ["gradient", "backward", 1], ["update", "optimizer", 2]]
  .filter(([kind, , part]) => (part < 0 ? groups.length : present[part]) && (kind !== "integer" || groups.length));
if (DATA.difference) legend.push(["added", "added"], ["rewired", "rewired"], ["removed", "removed"]);
document.getElementById("legend").append(...legend.map(([kind, text]) => make("span", { class: kind }, text)));
document.getElementById("title").textContent = document.title;
document.getElementById("fold").hidden = !groups.length;

readColours();
showParts();
scene = layout(buildGraph());
start();
select(null);

// For tests and for scripts on the console: where is a node on the screen?
window.graphPage = {
  find: (text) => entries.filter((e) => e.text.includes(text.toLowerCase())).map((e) => e.key),
  go,
  selected: () => selected,
  opened: () => [...opened],
  counts: () => ({ operators: ops.length, nodes: scene.nodes.size, edges: scene.edges.length }),
  position: (key) => {
    const node = nodeAt(key), box = canvas.getBoundingClientRect();
    return node && { x: box.left + (node.x - view.x) * view.scale, y: box.top + (node.y - view.y) * view.scale };
  },
  ready: performance.now(),
};
