"use strict";
// A cell's data-key is its number, or its text; an empty one, of what was not measured, goes last.
const body = document.querySelector("tbody");
const heads = [...document.querySelectorAll("th")];

function sortBy(column) {
  const head = heads[column];
  const up = head.getAttribute("aria-sort") !== "ascending";
  for (const other of heads) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const key = (row) => row.cells[column].dataset.key;
  const numbers = head.dataset.kind === "number";
  const compare = (a, b) => {
    const [x, y] = [key(a), key(b)];
    if (!x || !y) return (x ? 0 : 1) - (y ? 0 : 1);
    const order = numbers ? Number(x) - Number(y) : x.localeCompare(y);
    return up ? order : -order;
  };
  body.append(...[...body.rows].sort(compare));
}

heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => sortBy(column)));
