// Keyboard and pointer.

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
