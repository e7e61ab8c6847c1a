// What can be done: select, open, fold, move, zoom, switch parts.

const status = document.getElementById("status");

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
