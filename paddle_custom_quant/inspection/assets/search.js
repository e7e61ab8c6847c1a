// Search by words in names and types.

const search = document.getElementById("search");
const results = document.getElementById("results");
let found = [];
let active = -1;

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
