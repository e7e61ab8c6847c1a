// The side panel. All text from the model goes in as text, never as markup.

const panel = document.getElementById("panel");

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "onclick") element.addEventListener("click", value);
    else element.setAttribute(key, value);
  }
  element.append(...children.filter((c) => c !== null && c !== undefined));
  return element;
}

function table(rows) {
  const body = make("tbody");
  for (const [name, ...cells] of rows) {
    if (cells.every((cell) => cell === null || cell === undefined || cell === "")) continue;
    body.append(make("tr", {}, make("th", { scope: "row" }, name),
      ...cells.map((cell) => (cell instanceof Node ? make("td", {}, cell) : make("td", {}, String(cell))))));
  }
  return make("table", {}, body);
}

function section(title, ...children) {
  return [make("h3", {}, title), ...children];
}

function link(text, key) {
  return make("button", { class: "link", type: "button", onclick: () => go(key) }, text);
}

function pair(range) {
  if (!range) return "unknown";
  return range[0] === range[1] ? number(range[0]) : `${number(range[0])} to ${number(range[1])}`;
}

function describeVariable(v) {
  const writer = v.writers.length ? v.writers[v.writers.length - 1] : null;
  const cell = make("span", {}, writer ? link(v.name, nodeKey(writer)) : v.name);
  const facts = [shapeText(v), v.dtype, v.persistable ? "parameter" : ""].filter(Boolean).join(" · ");
  if (facts) cell.append(make("br"), make("span", { class: "quiet" }, facts));
  return cell;
}

function slots(op, side) {
  return Object.entries(op[side]).flatMap(([slot, held]) =>
    held.filter((i) => variables[i].name !== "@EMPTY@").map((i, n) => [n || held.length > 1 ? `${slot} ${n}` : slot, describeVariable(variables[i])]));
}

function valueText(value) {
  return Array.isArray(value) ? `[${value.join(", ")}]` : String(value);
}

function histograms(vars) {
  const parts = [];
  for (const v of vars) {
    const histogram = DATA.histograms[v.id];
    if (!histogram) continue;
    const key = make("p", { class: "key" });
    if (histogram.float) key.append(make("span", {}, "float"));
    if (histogram.grid) key.append(make("span", { class: "on-grid" }, "on the grid"));
    const count = histogram.sample < histogram.size
      ? `${histogram.sample.toLocaleString("en")} of ${histogram.size.toLocaleString("en")} values`
      : `${histogram.size.toLocaleString("en")} values`;
    parts.push(...section("Values"), make("p", {}, v.name, make("span", { class: "quiet" }, ` · ${count}`)), key,
      histogramPicture(histogram, `Histogram of ${v.name}`));
  }
  return parts;
}

function changeNote(change) {
  return change ? make("p", { class: change }, { added: "New", rewired: "Rewired", removed: "Removed" }[change]) : null;
}

function showOperator(op) {
  const group = op.group >= 0 ? groups[op.group] : null;
  const attributes = Object.entries(op.attributes).map(([name, value]) => [name, valueText(value)]);
  const integer = op.part === 0 && !group
    ? op.integer ? "computes on quantized inputs" : "computes on float inputs" : "";
  const copies = groups.filter((g) => op.reads.some((v) => v.name === g.copy));
  panel.replaceChildren(
    make("h2", {}, op.kind),
    make("p", { class: "quiet" }, [PARTS[op.part], integer, op.block ? `in block ${op.block}` : ""].filter(Boolean).join(" · ")),
    ...[changeNote(op.change)].filter(Boolean),
    ...(group ? section("Belongs to", make("p", {}, link(`${groupTitle(group)} of ${group.tensor}`, `g${group.id}.${op.part}`))) : []),
    ...(copies.length && !group ? section("Quantized inputs", table(copies.map((g) => [g.role, link(`${groupTitle(g)} · ${g.tensor}`, `g${g.id}.${g.role === "gradient" ? 1 : 0}`)]))) : []),
    ...rewiredTable(op),
    ...section("Inputs", table(slots(op, "in"))),
    ...section("Outputs", table(slots(op, "out"))),
    ...(attributes.length ? section("Attributes", table(attributes)) : []),
    ...histograms(op.reads.filter((v) => v.persistable || groups.some((g) => g.copy === v.name && g.role === "weight"))),
  );
}

function rewiredTable(op) {
  if (!DATA.difference || !op.change || op.change !== "rewired") return [];
  const name = `${op.kind} -> ${op.writes.length ? op.writes[0].name : "nothing"}`;
  const links = DATA.difference.changes.flatMap((c) => c.rewired).filter((r) => r.operator === name && r.part === PARTS[op.part]);
  return section("Rewired", table(links.map((r) => [r.slot, `${r.before || "nothing"} → ${r.after || "nothing"}`])));
}

function showGroup(group, part) {
  const tensor = byName.get(group.tensor), copy = byName.get(group.copy);
  const held = group.ops[part];
  const own = new Set(groups.flatMap((g) => g.ops.flat()));
  const states = [...new Set(held.flatMap((op) => op.reads))].filter((v) => v.persistable && v !== tensor && v !== copy);
  const readers = copy ? copy.readers.filter((op) => !own.has(op)) : [];
  const change = held.length && held.every((op) => op.change === held[0].change) ? held[0].change : null;
  panel.replaceChildren(
    make("h2", {}, groupTitle(group)),
    make("p", { class: "quiet" }, `quantizes the ${group.role} ${group.tensor}`),
    ...[changeNote(change)].filter(Boolean),
    make("p", {}, make("button", { type: "button", id: "toggle", onclick: () => toggle(group.id, part) },
      opened.has(group.id) ? "Fold" : `Open its ${held.length} operators`)),
    ...section("Grid", table([
      ["bits", group.bits === null ? "unknown" : `${group.bits_counted ? "about " : ""}${group.bits}`],
      ["levels", group.levels === null ? "" : group.levels],
      ["signed", group.signed === null ? "" : group.signed ? "yes" : "no"],
      ["step", pair(group.step)],
      ["range", pair(group.range)],
      ["scales", group.range ? (group.channels > 1 ? `${group.channels}, along axis ${group.axis}` : "1, for the whole tensor") : ""],
      ...Object.entries(group.fields).filter(([k]) => k !== "bits" && k !== "signed").map(([k, v]) => [k.replaceAll("_", " "), typeof v === "object" && v !== null ? JSON.stringify(v) : String(v)]),
    ])),
    ...section("Tensor", table([
      ["float", tensor ? describeVariable(tensor) : group.tensor],
      ["quantized", copy ? describeVariable(copy) : group.copy],
      ["shape", tensor || copy ? shapeText(tensor && tensor.shape ? tensor : copy) : ""],
    ])),
    ...(readers.length ? section("Read by", table(readers.map((op) => [PARTS[op.part], link(`${op.kind} · ${op.writes.length ? op.writes[0].name : ""}`, nodeKey(op))]))) : []),
    ...(states.length ? section("Parameters", table(states.map((v) => [v.name.split(".").pop(), describeVariable(v)]))) : []),
    ...histograms([copy, ...states].filter(Boolean)),
  );
}

function counted(kinds) {
  return Object.entries(kinds).map(([kind, n]) => `${n} ${kind}`).join(", ");
}

function showSummary() {
  const s = DATA.summary;
  const size = (bytes) => (bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);
  const rows = s.quantized.map((q, i) => make("tr", {},
    make("td", {}, link(q.tensor, `g${i}.${q.role === "gradient" ? 1 : 0}`)), make("td", {}, q.quantizer),
    make("td", { class: "number" }, q.bits === null ? "?" : `${q.bits_counted ? "~" : ""}${q.bits}`),
    make("td", { class: "number" }, q.step ? number(q.step[1]) : "?")));
  const heads = make("tr", {}, ...["Tensor", "Quantizer", "Bits", "Step"].map((h) => make("th", { scope: "col" }, h)));
  panel.replaceChildren(
    make("h2", {}, s.source.split(/[\\/]/).pop()),
    make("p", { class: "quiet" }, s.kind + (s.paddle_version ? ` · Paddle ${s.paddle_version}` : "")),
    ...(DATA.difference ? showDifference(DATA.difference) : []),
    ...section("Operators", table([
      ["all", `${s.operators}, ${s.quantizer_operators} of quantizers`],
      ...Object.entries(s.operators_by_part).map(([part, n]) => [part, n]),
    ])),
    ...section("Parameters", table([
      ["of the net", `${s.parameters} with ${s.parameter_elements.toLocaleString("en")} values, ${size(s.parameter_bytes)}`],
      ["of quantizers", s.quantizer_parameters],
      ...Object.entries(s.files).map(([file, bytes]) => [file, size(bytes)]),
    ])),
    ...section("In integers", table([
      ["layers", `${s.integer_layers} of ${s.layers} with weights`],
      ["operators", `${s.integer_operators} of ${s.net_operators}`],
      ...Object.entries(s.float_operators).map(([reason, kinds]) => ["left in float", `${counted(kinds)}: ${reason}`]),
    ])),
    ...(rows.length ? section(`Quantized tensors (${rows.length})`, make("table", {}, make("thead", {}, heads), make("tbody", {}, ...rows))) : []),
    ...section("Operators by type", table(Object.entries(s.operators_by_type))),
  );
}

function showDifference(difference) {
  const total = (key) => difference.changes.flatMap((c) => Object.values(c[key])).flatMap((k) => Object.values(k)).reduce((a, b) => a + b, 0);
  const rewired = difference.changes.reduce((sum, c) => sum + c.rewired.length, 0);
  return section("Difference", make("p", { class: "quiet" }, `${difference.before} → ${difference.after}`), table([
    ["added", make("span", { class: "added" }, `${total("added")} operators`)],
    ["removed", make("span", { class: "removed" }, `${total("removed")} operators`)],
    ["rewired", make("span", { class: "rewired" }, `${rewired} links`)],
  ]));
}
