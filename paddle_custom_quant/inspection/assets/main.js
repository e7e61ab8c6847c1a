// Start.

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
