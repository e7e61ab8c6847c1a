// Rows of the drawing. A cell holds a forward operator and all that belongs to it: the quantizer of
// its weight, its gradient operators and the operators that update its parameters.

function buildCells() {
  const cells = new Map(); // key of the forward node -> cell
  const ofOp = new Map();
  const ofGroup = new Map();

  const cell = (key) => {
    if (!cells.has(key)) cells.set(key, { key, parts: [[], [], []], next: new Set(), before: new Set() });
    return cells.get(key);
  };
  const groupCell = (group, seen = new Set()) => {
    if (ofGroup.has(group.id)) return ofGroup.get(group.id);
    seen.add(group.id);
    let held = null;
    const copy = byName.get(group.copy);
    if (group.role !== "activation" && copy) {
      for (const reader of copy.readers) {
        if (reader.part === 0 && reader.group < 0) held = cell(`o${reader.id}`);
        else if (reader.part === 0 && !seen.has(reader.group)) held = groupCell(groups[reader.group], seen);
        else if (group.role === "gradient" && reader.group !== group.id) held = backwardCell(reader);
        if (held) break;
      }
    }
    held = held || cell(`g${group.id}`);
    ofGroup.set(group.id, held);
    return held;
  };
  const ownerOf = (variable, kind) => {
    const writer = variable && variable.writers.find((w) => w.part === 0 && (!kind || w.kind === kind));
    return writer ? forwardCell(writer) : null;
  };
  const forwardCell = (op) => {
    if (op.group >= 0) return groupCell(groups[op.group]);
    // What only prepares a parameter for one operator stands beside that.
    const readers = op.sources.length || !op.reads.length ? [] : op.writes.flatMap((v) => v.readers).filter((r) => r.part === 0);
    const prepares = readers.length === 1 && op.reads.every((v) => v.persistable && v.shape) && readers[0].sources.length > 1;
    return prepares ? forwardCell(readers[0]) : cell(`o${op.id}`);
  };
  const backwardCell = (op) => {
    if (op.group >= 0 && groups[op.group].role !== "gradient") return groupCell(groups[op.group]);
    if (op.kind.endsWith("_grad")) {
      for (const [slot, held] of Object.entries(op.in)) {
        if (!slot.endsWith(GRAD)) continue;
        for (const i of held) {
          const base = byName.get(variables[i].name.split(GRAD)[0]);
          const found = ownerOf(base, op.kind.slice(0, -5));
          if (found) return found;
        }
      }
    }
    for (const v of op.writes) {
      const base = byName.get(v.name.split(GRAD)[0]);
      const reader = base && base.persistable && base.readers.find((r) => r.part === 0);
      const found = reader ? forwardCell(reader) : ownerOf(base);
      if (found) return found;
    }
    return null;
  };
  const updateCell = (op) => {
    for (const i of op.in.Param || []) {
      const reader = variables[i].readers.find((r) => r.part === 0);
      if (reader) return forwardCell(reader);
    }
    return null;
  };

  for (const op of ops) if (op.part === 0) ofOp.set(op, forwardCell(op));
  for (const op of ops) {
    if (op.part === 0) continue;
    const found = op.group >= 0 ? groupCell(groups[op.group])
      : op.part === 1 ? backwardCell(op) : updateCell(op);
    const near = found || op.sources.map((s) => ofOp.get(s.op)).find(Boolean);
    ofOp.set(op, near || cell(`loose${op.part}.${Math.floor(looseCount++ / 3)}`));
  }
  return { cells, ofOp };
}

let looseCount = 0;

/** Nodes to draw, edges between them, and cells with their nodes. */
function buildGraph() {
  looseCount = 0;
  const { cells, ofOp } = buildCells();
  const nodes = new Map();
  for (const op of ops) {
    if (hidden.has(op.part)) continue;
    const group = op.group >= 0 ? groups[op.group] : null;
    const key = group ? `g${op.group}.${op.part}` : `o${op.id}`;
    let node = nodes.get(key);
    if (!node) {
      node = { key, part: op.part, group, ops: [], cell: ofOp.get(op), out: [], in: [] };
      nodes.set(key, node);
      node.cell.parts[op.part].push(node);
    }
    node.ops.push(op);
  }
  for (const held of cells.values()) {
    for (const list of held.parts) {
      // The operator itself in the middle, its quantizer beside it.
      list.sort((a, b) => rank(a, held) - rank(b, held));
    }
  }
  const outer = (op) => (op.group >= 0 ? `g${op.group}.${op.part}` : `o${op.id}`);
  const edges = new Map();
  for (const op of ops) {
    for (const { op: source, variable } of op.sources) {
      const from = nodes.get(outer(source)), to = nodes.get(outer(op));
      if (!from || !to || from === to) continue;
      const key = `${from.key}|${to.key}`;
      if (!edges.has(key)) {
        const edge = { from, to, variables: [], cross: from.part !== to.part };
        edges.set(key, edge);
        from.out.push(edge);
        to.in.push(edge);
      }
      edges.get(key).variables.push(variable);
    }
  }
  for (const op of ops) {
    if (op.part !== 0) continue;
    for (const { op: source } of op.sources) {
      const a = ofOp.get(source), b = ofOp.get(op);
      if (source.part === 0 && a !== b) {
        a.next.add(b);
        b.before.add(a);
      }
    }
  }
  return { cells: [...cells.values()], nodes, edges: [...edges.values()] };
}

function rank(node, cell) {
  if (cell.key === node.key || cell.key === `g${node.group ? node.group.id : -1}`) return 0;
  if (!node.group && node.ops[0].kind.endsWith("_grad")) return 0;
  return node.group ? 1 : 2;
}
