// The program: operators, variables, quantizers, and which node stands for which operator.

const DATA = JSON.parse(document.getElementById("data").textContent);
const PARTS = ["forward", "backward", "optimizer"];
const GRAD = "@GRAD";

const ops = DATA.operators;
const groups = DATA.groups;
const variables = DATA.variables.map(([name, shape, dtype, persistable], id) => ({
  id, name, shape, dtype, persistable: Boolean(persistable), writers: [], readers: [],
}));
const opened = new Set(); // groups whose operators are shown
const hidden = new Set(); // parts that are not shown
const byName = new Map(variables.map((v) => [v.name, v]));

const names = (slots) => Object.values(slots).flat().map((i) => variables[i]);

ops.forEach((op, id) => {
  op.id = id;
  op.reads = names(op.in).filter((v) => v.name !== "@EMPTY@");
  op.writes = names(op.out).filter((v) => v.name !== "@EMPTY@");
  op.sources = []; // operators whose results it reads
  op.attributes = DATA.attributes[op.attributes];
});

// A name can be written several times: a reader has the last value before it.
{
  const last = new Map();
  for (const op of ops) {
    for (const v of op.reads) {
      v.readers.push(op);
      if (last.has(v)) op.sources.push({ op: last.get(v), variable: v });
    }
    for (const v of op.writes) {
      v.writers.push(op);
      last.set(v, op);
    }
  }
}

groups.forEach((group, id) => {
  group.id = id;
  group.ops = [[], [], []];
});
for (const op of ops) if (op.group >= 0) groups[op.group].ops[op.part].push(op);

/** Key of the node that shows an operator: its own, or its folded quantizer's. */
function nodeKey(op) {
  return op.group >= 0 && !opened.has(op.group) ? `g${op.group}.${op.part}` : `o${op.id}`;
}

function shapeText(variable) {
  if (!variable || !variable.shape) return "";
  return variable.shape.map((size) => (size < 0 ? "?" : size)).join(" × ") || "scalar";
}

function bitsText(group) {
  if (group.bits === null) return "bits unknown";
  return `${group.bits_counted ? "about " : ""}${group.bits} bit${group.bits === 1 ? "" : "s"}`;
}

function groupTitle(group) {
  return `${group.quantizer} · ${bitsText(group)}`;
}

/** The result that an operator is there for: batch norm also writes statistics. */
function mainResult(op) {
  const slot = ["Y", "Out", "Output", "X@GRAD", "Input@GRAD"].find((name) => op.out[name]);
  return slot ? variables[op.out[slot][0]] : op.writes.find((v) => !v.persistable) || op.writes[0];
}

/** Second line of an operator's node. */
function opDetail(op) {
  if (op.part === 2 && op.in.Param) return variables[op.in.Param[0]].name;
  const out = mainResult(op);
  return shapeText(out) || (out ? out.name : "");
}
