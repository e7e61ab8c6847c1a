// A parameter's values, float and on the grid, as two histograms in one picture.

const SVG = "http://www.w3.org/2000/svg";

function svgElement(name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

function number(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size >= 1e5 || size < 1e-3 ? value.toExponential(2) : String(Number(value.toPrecision(4)));
}

function histogramPicture(histogram, label) {
  const width = 360, left = 4, right = 4, height = 74;
  const kinds = ["float", "grid"].filter((kind) => histogram[kind]);
  const total = kinds.length * height + 18;
  const svg = svgElement("svg", { viewBox: `0 0 ${width} ${total}`, role: "img", "aria-label": label });
  const scale = (value) => left + ((value - histogram.low) / (histogram.high - histogram.low)) * (width - left - right);
  kinds.forEach((kind, row) => {
    const counts = histogram[kind], most = Math.max(...counts, 1), base = (row + 1) * height - 2;
    const bar = (width - left - right) / counts.length;
    if (histogram.levels && kind === "grid") {
      for (const level of histogram.levels) {
        if (level < histogram.low || level > histogram.high) continue;
        svg.append(svgElement("line", { class: "level", x1: scale(level), x2: scale(level), y1: row * height + 2, y2: base }));
      }
    }
    counts.forEach((count, i) => {
      const tall = (count / most) * (height - 10);
      if (count) svg.append(svgElement("rect", {
        class: `${kind}-bars`, x: left + i * bar, width: Math.max(bar - 0.6, 0.6), y: base - Math.max(tall, 1), height: Math.max(tall, 1),
      }));
    });
    svg.append(svgElement("line", { class: "axis", x1: left, x2: width - right, y1: base, y2: base }));
  });
  svg.append(svgElement("text", { x: left, y: total - 5 }, number(histogram.low)));
  svg.append(svgElement("text", { x: width - right, y: total - 5, "text-anchor": "end" }, number(histogram.high)));
  return svg;
}
