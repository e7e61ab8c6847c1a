// Drawing. Only what is in view is drawn, and only as fine as it can be seen.

const canvas = document.getElementById("graph");
const map = document.getElementById("map");
const view = { x: 0, y: 0, scale: 1 }; // graph coordinates of the upper left corner
let scene = null;
let selected = null; // key of a node
let over = null;
let colours = {};
let pending = false;
const cut = new Map();
const FAR = 0.32; // below this scale text cannot be read

function readColours() {
  const style = getComputedStyle(document.documentElement);
  const kinds = ["float", "integer", "quantizer", "gradient", "update"];
  for (const name of [...kinds, ...kinds.map((kind) => `${kind}-far`), "page", "ink", "quiet", "line", "zone", "edge", "cross", "focus", "added", "rewired", "removed"]) {
    colours[name] = style.getPropertyValue(`--${name}`).trim();
  }
}

function redraw() {
  if (pending) return;
  pending = true;
  requestAnimationFrame(() => {
    pending = false;
    draw();
    drawMap();
  });
}

function fitCanvas(element) {
  const ratio = window.devicePixelRatio || 1;
  const width = element.clientWidth, height = element.clientHeight;
  if (element.width !== Math.round(width * ratio) || element.height !== Math.round(height * ratio)) {
    element.width = Math.round(width * ratio);
    element.height = Math.round(height * ratio);
  }
  const pen = element.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  return { pen, width, height };
}

/** The middle of the view stays on the graph, which can so not be lost. */
function hold(width, height) {
  const within = (value, most) => Math.min(Math.max(value, 0), most);
  const wide = width / view.scale / 2, tall = height / view.scale / 2;
  view.x = within(view.x + wide, scene.width) - wide;
  view.y = within(view.y + tall, scene.height) - tall;
}

function draw() {
  const { pen, width, height } = fitCanvas(canvas);
  hold(width, height);
  pen.fillStyle = colours.page;
  pen.fillRect(0, 0, width, height);
  pen.save();
  pen.scale(view.scale, view.scale);
  pen.translate(-view.x, -view.y);
  const frame = { left: view.x, top: view.y, right: view.x + width / view.scale, bottom: view.y + height / view.scale };
  drawZones(pen, frame);
  const marked = selectedNode();
  for (const edge of scene.edges) {
    if (edge.cross || edge.from === marked || edge.to === marked) continue;
    if (edge.right < frame.left || edge.left > frame.right || edge.bottom < frame.top || edge.top > frame.bottom) continue;
    drawEdge(pen, edge, colours.edge, 1.2);
  }
  if (marked) {
    for (const edge of [...marked.in, ...marked.out]) {
      drawEdge(pen, edge, edge.cross ? colours.cross : colours.focus, 2.2);
    }
  }
  for (const node of scene.nodes.values()) {
    if (inside(node, frame)) drawNode(pen, node);
  }
  pen.restore();
  drawZoneNames(pen, width);
}

function inside(node, frame) {
  return node.x + node.width / 2 >= frame.left && node.x - node.width / 2 <= frame.right &&
    node.y + node.height / 2 >= frame.top && node.y - node.height / 2 <= frame.bottom;
}

function drawZones(pen, frame) {
  scene.zones.forEach((zone) => {
    if (!zone) return;
    pen.fillStyle = colours.zone;
    pen.fillRect(zone.offset - NODE.zone / 2 + 6, frame.top, zone.width + NODE.zone - 12, frame.bottom - frame.top);
  });
}

function drawZoneNames(pen, width) {
  pen.fillStyle = colours.page;
  pen.globalAlpha = 0.93;
  pen.fillRect(0, 0, width, 30);
  pen.globalAlpha = 1;
  pen.fillStyle = colours.quiet;
  pen.textAlign = "center";
  pen.font = "600 12px system-ui, sans-serif";
  scene.zones.forEach((zone, part) => {
    if (!zone) return;
    const left = (zone.offset - view.x) * view.scale, right = left + zone.width * view.scale;
    if (right > 40 && left < width - 40 && right - left > 80) {
      pen.fillText(PARTS[part], (Math.max(left, 0) + Math.min(right, width)) / 2, 20);
    }
  });
}

function drawEdge(pen, edge, colour, thickness) {
  const p = edge.points, last = p[p.length - 1];
  pen.strokeStyle = pen.fillStyle = colour;
  pen.lineWidth = Math.max(thickness, 0.6 / view.scale);
  pen.beginPath();
  pen.moveTo(p[0].x, p[0].y);
  let before = p[0];
  if (p.length === 2 && p[0].x !== last.x && p[0].y !== last.y) {
    const sideways = edge.cross || edge.from.cell === edge.to.cell || edge.from.part === 2;
    const mx = (p[0].x + last.x) / 2, my = (p[0].y + last.y) / 2;
    const [c1, c2] = sideways ? [{ x: mx, y: p[0].y }, { x: mx, y: last.y }] : [{ x: p[0].x, y: my }, { x: last.x, y: my }];
    pen.bezierCurveTo(c1.x, c1.y, c2.x, c2.y, last.x, last.y);
    before = c2;
  } else {
    for (let i = 1; i < p.length - 1; i++) {
      const middle = { x: (p[i].x + p[i + 1].x) / 2, y: (p[i].y + p[i + 1].y) / 2 };
      if (i === p.length - 2) pen.quadraticCurveTo(p[i].x, p[i].y, last.x, last.y);
      else pen.quadraticCurveTo(p[i].x, p[i].y, middle.x, middle.y);
      before = p[i];
    }
    if (p.length === 2) pen.lineTo(last.x, last.y);
  }
  pen.stroke();
  if (view.scale < FAR) return;
  const angle = Math.atan2(last.y - before.y, last.x - before.x);
  pen.beginPath();
  pen.moveTo(last.x, last.y);
  pen.lineTo(last.x - 7 * Math.cos(angle - 0.4), last.y - 7 * Math.sin(angle - 0.4));
  pen.lineTo(last.x - 7 * Math.cos(angle + 0.4), last.y - 7 * Math.sin(angle + 0.4));
  pen.fill();
}

/** Pale behind text; strong from far away, where colour is all there is. */
function fillOf(node, far = view.scale < FAR) {
  const op = node.op || node.ops[0];
  const kind = node.group ? "quantizer" : op.part === 1 ? "gradient" : op.part === 2 ? "update"
    : op.integer ? "integer" : "float";
  return colours[far ? `${kind}-far` : kind];
}

function changeOf(node) {
  const held = node.op ? [node.op] : node.ops;
  return held.every((op) => op.change === held[0].change) ? held[0].change : held.find((op) => op.change)?.change;
}

function drawBox(pen, node, fill, edge) {
  const change = changeOf(node);
  pen.fillStyle = fill;
  pen.strokeStyle = node.key === selected ? colours.focus : change ? colours[change] : edge;
  pen.lineWidth = node.key === selected ? 3 : change ? 2.5 : 1;
  if (change === "removed") pen.setLineDash([6, 4]);
  pen.beginPath();
  pen.roundRect(node.x - node.width / 2, node.y - node.height / 2, node.width, node.height, 7);
  pen.fill();
  if (view.scale > 0.15 || node.key === selected || change) pen.stroke();
  pen.setLineDash([]);
}

function drawNode(pen, node) {
  if (node.children) {
    drawOpened(pen, node);
    return;
  }
  drawBox(pen, node, fillOf(node), node.key === over ? colours.quiet : colours.line);
  if (view.scale < FAR) return;
  const [first, second] = node.group
    ? [`▸ ${groupTitle(node.group)}`, node.group.tensor]
    : [node.ops[0].kind, opDetail(node.ops[0])];
  drawText(pen, node, first, second);
}

function drawText(pen, node, first, second) {
  pen.textAlign = "center";
  pen.fillStyle = colours.ink;
  pen.font = "600 12.5px system-ui, sans-serif";
  pen.fillText(fitted(pen, first, node.width - 14), node.x, node.y - (second ? 3 : -4));
  if (!second) return;
  pen.globalAlpha = 0.75;
  pen.font = "11px system-ui, sans-serif";
  pen.fillText(fitted(pen, second, node.width - 14), node.x, node.y + 12);
  pen.globalAlpha = 1;
}

/** Text cut to a width, with dots in the middle: the ends of names tell them apart. */
function fitted(pen, text, width) {
  const key = `${pen.font}|${width}|${text}`;
  if (cut.has(key)) return cut.get(key);
  let shown = text;
  for (let keep = Math.min(text.length, 60); pen.measureText(shown).width > width && keep > 3; keep--) {
    shown = `${text.slice(0, Math.ceil(keep / 2))}…${text.slice(text.length - Math.floor(keep / 2))}`;
  }
  cut.set(key, shown);
  return shown;
}

function drawOpened(pen, node) {
  drawBox(pen, node, colours.page, colours.edge);
  pen.fillStyle = colours.quantizer;
  pen.beginPath();
  pen.roundRect(node.x - node.width / 2 + 1, node.y - node.height / 2 + 1, node.width - 2, NODE.title, 6);
  pen.fill();
  if (view.scale >= FAR) {
    pen.textAlign = "center";
    pen.fillStyle = colours.ink;
    pen.font = "600 12px system-ui, sans-serif";
    pen.fillText(fitted(pen, `▾ ${groupTitle(node.group)}`, node.width - 14), node.x, node.y - node.height / 2 + 17);
  }
  for (const line of node.lines) {
    const points = line.map((p) => ({ x: node.x + p.dx, y: node.y + p.dy }));
    drawEdge(pen, { points, from: {}, to: {} }, colours.edge, 1);
  }
  for (const child of node.children) {
    child.x = node.x + child.dx;
    child.y = node.y + child.dy;
    drawBox(pen, child, fillOf({ ops: [child.op] }), child.key === over ? colours.quiet : colours.line);
    if (view.scale >= FAR) drawText(pen, child, child.op.kind, opDetail(child.op));
  }
}

/** The whole graph, narrow: where one is. */
function drawMap() {
  const { pen, width, height } = fitCanvas(map);
  pen.fillStyle = colours.page;
  pen.fillRect(0, 0, width, height);
  const sx = (width - 6) / scene.width, sy = (height - 6) / scene.height;
  for (const node of scene.nodes.values()) {
    pen.fillStyle = node.key === selected ? colours.focus : fillOf(node, true);
    const w = Math.max(node.width * sx, 2.5), h = Math.max(node.height * sy, 1.5);
    pen.fillRect(3 + node.x * sx - w / 2, 3 + node.y * sy - h / 2, w, h);
  }
  pen.strokeStyle = colours.focus;
  pen.lineWidth = 1.5;
  const top = Math.max(0, view.y), bottom = Math.min(scene.height, view.y + canvas.clientHeight / view.scale);
  const left = Math.max(0, view.x), right = Math.min(scene.width, view.x + canvas.clientWidth / view.scale);
  pen.strokeRect(3 + left * sx, 3 + top * sy, Math.max((right - left) * sx, 3), Math.max((bottom - top) * sy, 3));
}

function selectedNode() {
  return selected ? scene.nodes.get(selected) || childNode(selected)?.parent : null;
}

function childNode(key) {
  for (const node of scene.nodes.values()) {
    const found = node.children && node.children.find((child) => child.key === key);
    if (found) return found;
  }
  return null;
}
