// Coordinates. dagre lays out the forward part, with rows that follow one another as one block;
// the backward part and the optimizer stand beside it, each operator on the row of its forward one.

const NODE = { width: 158, height: 40, gap: 18, row: 22, zone: 90, inner: 14, title: 24 };

function layout(graph) {
  for (const node of graph.nodes.values()) sizeOf(node);
  for (const cell of graph.cells) sizeOfCell(cell);
  const blocks = chains(graph.cells.filter((cell) => !cell.key.startsWith("loose")));
  const zones = place(graph, blocks);
  for (const cell of graph.cells) {
    cell.parts.forEach((list, part) => {
      if (zones[part]) list.forEach((node) => {
        node.x = cell.x + node.dx + zones[part].offset;
        node.y = cell.y;
      });
    });
  }
  for (const edge of graph.edges) route(edge, zones);
  const xs = zones.filter(Boolean);
  return {
    ...graph, zones,
    width: Math.max(...xs.map((z) => z.offset + z.width), 1),
    height: Math.max(...graph.cells.map((c) => c.y + c.height / 2), 1) + 30,
  };
}

function sizeOf(node) {
  node.width = NODE.width;
  node.height = NODE.height;
  node.children = null;
  if (!node.group || !opened.has(node.group.id)) return;
  const inside = innerLayout(node);
  node.width = Math.max(NODE.width, inside.width + 2 * NODE.inner);
  node.height = inside.height + 2 * NODE.inner + NODE.title;
  const left = -inside.width / 2, top = -node.height / 2 + NODE.inner + NODE.title;
  const shifted = (p) => ({ dx: p.x + left, dy: p.y + top });
  node.children = node.ops.map((op, i) => ({
    key: `o${op.id}`, op, part: node.part, parent: node, ...shifted(inside.places[i]), ...INNER,
  }));
  node.lines = inside.lines.map((points) => points.map(shifted));
}

const INNER = { width: 132, height: 34 };
const innerLayouts = new Map(); // quantizers of a kind look alike

function innerLayout(node) {
  const index = new Map(node.ops.map((op, i) => [op, i]));
  const links = node.ops.flatMap((op, i) => op.sources
    .filter(({ op: source }) => index.has(source) && source !== op)
    .map(({ op: source }) => [index.get(source), i]));
  const likeness = JSON.stringify([node.part, node.ops.length, links]);
  if (innerLayouts.has(likeness)) return innerLayouts.get(likeness);
  const inside = new dagre.Graph();
  inside.setGraph({ rankdir: node.part === 1 ? "BT" : "TB", nodesep: 12, ranksep: 18, ranker: "tight-tree" });
  inside.setDefaultEdgeLabel(() => ({}));
  node.ops.forEach((_, i) => inside.setNode(String(i), { ...INNER }));
  for (const [from, to] of links) inside.setEdge(String(from), String(to));
  dagre.layout(inside);
  const found = {
    width: inside.graph().width,
    height: inside.graph().height,
    places: node.ops.map((_, i) => inside.node(String(i))).map(({ x, y }) => ({ x, y })),
    lines: inside.edges().map((edge) => inside.edge(edge).points),
  };
  innerLayouts.set(likeness, found);
  return found;
}

/** The first node of each part is in the middle, the others right and left of it in turn. */
function sizeOfCell(cell) {
  let height = 0;
  cell.left = cell.right = NODE.width / 2;
  for (const list of cell.parts) {
    let right = 0, left = 0;
    list.forEach((node, i) => {
      if (i === 0) {
        node.dx = 0;
        right = left = node.width / 2;
      } else if (i % 2) {
        node.dx = -(left + NODE.gap + node.width / 2);
        left += NODE.gap + node.width;
      } else {
        node.dx = right + NODE.gap + node.width / 2;
        right += NODE.gap + node.width;
      }
      height = Math.max(height, node.height);
    });
    cell.left = Math.max(cell.left, left);
    cell.right = Math.max(cell.right, right);
  }
  cell.height = height;
}

/** Rows that follow one another without a branch are one block. */
function chains(cells) {
  const only = (set) => (set.size === 1 ? [...set][0] : null);
  const blocks = [];
  for (const cell of cells) cell.block = null;
  for (const cell of cells) {
    const above = only(cell.before);
    if (cell.block || (above && only(above.next) === cell && above !== cell)) continue;
    blocks.push(chain(cell, only));
  }
  for (const cell of cells) if (!cell.block) blocks.push(chain(cell, only)); // a cycle
  return blocks;
}

function chain(first, only) {
  const block = { id: `b${first.key}`, cells: [], left: 0, right: 0, height: 0 };
  for (let cell = first; cell && !cell.block; ) {
    cell.block = block;
    block.cells.push(cell);
    block.left = Math.max(block.left, cell.left);
    block.right = Math.max(block.right, cell.right);
    block.height += cell.height + (block.cells.length > 1 && cell.height ? NODE.row : 0);
    const below = only(cell.next);
    cell = below && only(below.before) === cell ? below : null;
  }
  return block;
}

function place(graph, blocks) {
  const g = new dagre.Graph();
  g.setGraph({ rankdir: "TB", nodesep: 36, ranksep: 40, ranker: "tight-tree" });
  g.setDefaultEdgeLabel(() => ({}));
  for (const block of blocks) g.setNode(block.id, { width: block.left + block.right, height: Math.max(block.height, 1) });
  for (const block of blocks) {
    for (const cell of block.cells) {
      for (const below of cell.next) if (below.block !== block) g.setEdge(block.id, below.block.id);
    }
  }
  dagre.layout(g);
  const ranks = new Map(); // middle of a rank -> its height
  for (const block of blocks) {
    const middle = Math.round(g.node(block.id).y);
    ranks.set(middle, Math.max(ranks.get(middle) || 0, block.height));
  }
  // An edge passes a rank upright, or it would cross the tall blocks there; between two ranks it
  // needs no points.
  const upright = (p) => {
    const height = ranks.get(Math.round(p.y)) || 0;
    return height ? [{ x: p.x, y: p.y - height / 2 }, { x: p.x, y: p.y + height / 2 }] : [];
  };
  for (const block of blocks) {
    const at = g.node(block.id);
    let y = at.y - block.height / 2;
    for (const cell of block.cells) {
      cell.x = at.x + (block.left - block.right) / 2;
      cell.y = y + cell.height / 2;
      if (cell.height) y += cell.height + NODE.row;
      cell.paths = new Map();
      for (const below of cell.next) {
        if (below.block !== block) {
          const edge = g.edge(block.id, below.block.id);
          if (edge) cell.paths.set(below, edge.points.slice(1, -1).flatMap(upright));
        }
      }
    }
  }
  const size = g.graph();
  const width = Number.isFinite(size.width) ? size.width : NODE.width;
  let bottom = Number.isFinite(size.height) ? size.height : 0;
  const zones = [null, null, null];
  let offset = 0;
  for (const part of [0, 1, 2]) {
    const shown = graph.cells.some((cell) => cell.parts[part].length);
    if (hidden.has(part) || !shown) continue;
    zones[part] = { offset, width };
    offset += width + NODE.zone;
  }
  for (const cell of graph.cells) {
    if (!cell.key.startsWith("loose")) continue;
    // What belongs to no operator of the net stands below.
    bottom += NODE.row + cell.height;
    cell.x = width / 2;
    cell.y = bottom - cell.height / 2;
  }
  return zones;
}

/** Points of an edge, from the border of one node to that of the other. */
function route(edge, zones) {
  const { from, to } = edge;
  const up = from.part === 1 && to.part === 1;
  const start = { x: from.x, y: from.y + (up ? -1 : 1) * from.height / 2 };
  const end = { x: to.x, y: to.y + (up ? 1 : -1) * to.height / 2 };
  if (edge.cross || from.part === 2) {
    edge.points = sides(from, to);
  } else if (from.cell === to.cell) {
    edge.points = from.x === to.x ? [start, end] : sides(from, to);
  } else {
    const [above, below] = up ? [to.cell, from.cell] : [from.cell, to.cell];
    const path = above.paths && above.paths.get(below);
    const shift = zones[from.part].offset;
    if (path && path.length) {
      const middle = path.map((p) => ({ x: p.x + shift, y: p.y }));
      // It leaves and arrives upright.
      const way = up ? -16 : 16;
      const out = { x: start.x, y: start.y + way }, back = { x: end.x, y: end.y - way };
      edge.points = [start, out, ...(up ? middle.reverse() : middle), back, end];
    } else {
      edge.points = [start, end];
    }
  }
  edge.left = Math.min(...edge.points.map((p) => p.x));
  edge.right = Math.max(...edge.points.map((p) => p.x));
  edge.top = Math.min(...edge.points.map((p) => p.y));
  edge.bottom = Math.max(...edge.points.map((p) => p.y));
}

function sides(from, to) {
  const way = from.x <= to.x ? 1 : -1;
  return [
    { x: from.x + way * from.width / 2, y: from.y },
    { x: to.x - way * to.width / 2, y: to.y },
  ];
}
