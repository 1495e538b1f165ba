// Charts as inline SVG, drawn to the width they have.

const TEXT = 11;

function niceStep(range, wanted) {
  const raw = range / wanted || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  return [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((step) => step >= raw * 0.999);
}

function linear(low, high, from, to) {
  const span = high - low || 1;
  const scale = (value) => from + ((value - low) / span) * (to - from);
  scale.ticks = (wanted) => {
    const step = niceStep(span, wanted);
    const ticks = [];
    for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n += 1) ticks.push(n * step + 0);
    return ticks;
  };
  return scale;
}

function logarithmic(low, high, from, to) {
  const inner = linear(Math.log10(low), Math.log10(high), from, to);
  const scale = (value) => inner(Math.log10(Math.max(value, low)));
  scale.ticks = () => {
    const ticks = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
      for (const factor of [1, 2, 5]) {
        const value = factor * 10 ** power;
        if (value >= low * 0.999 && value <= high * 1.001) ticks.push(value);
      }
    }
    const room = Math.max(2, Math.abs(to - from) / 45);
    return ticks.length > room ? ticks.filter((value) => /^1/.test(value.toExponential())) : ticks;
  };
  return scale;
}

// An axis along the bottom with grid lines up to `top`.
function bottomAxis(scale, ticks, { left, right, top, bottom, title }) {
  return svg("g", { class: "axis" },
    ticks.map((value) => [
      svg("line", { class: "grid", x1: scale(value), x2: scale(value), y1: top, y2: bottom }),
      svg("text", { x: scale(value), y: bottom + TEXT + 4, "text-anchor": "middle" }, decimal(value)),
    ]),
    svg("line", { class: "base", x1: left, x2: right, y1: bottom, y2: bottom }),
    svg("text", { class: "title", x: (left + right) / 2, y: bottom + 2 * TEXT + 12, "text-anchor": "middle" }, title));
}

// A figure whose drawing is made when it comes near the window, and again when its width changes.
const nearby = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    entry.target.isNear = entry.isIntersecting;
    if (entry.isIntersecting) entry.target.draw();
  }
}, { rootMargin: "600px" });
const widths = new ResizeObserver((entries) => {
  for (const { target } of entries) if (target.isNear && target.clientWidth !== target.drawnWidth) target.draw();
});

function makeChart({ title, note = "", size = "", draw }) {
  const box = el("div", { class: "plot" });
  const key = el("p", { class: "muted" }, note);
  const node = el("figure", { class: `chart ${size}`.trim() },
    el("figcaption", {}, el("h4", {}, title), note ? key : null), box);
  box.draw = () => {
    box.drawnWidth = box.clientWidth;
    if (box.drawnWidth > 0) box.replaceChildren(draw(box.drawnWidth));
  };
  nearby.observe(box);
  widths.observe(box);
  return { node, redraw: () => { if (box.isNear) box.draw(); } };
}

function drawing(width, height, text, children, role = "img") {
  return svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role, "aria-label": text },
    role === "img" ? svg("title", {}, text) : null, children);
}

const nothingToDraw = () => el("p", { class: "muted" }, "No values in this selection.");

// Stacked by modality. values: [{value, modality}].
function histogram(width, values, { axis, whole = false, what = "samples" }) {
  if (values.length === 0) return nothingToDraw();
  const sorted = values.map((one) => one.value).sort((a, b) => a - b);
  const [low, high] = [sorted[0], sorted[sorted.length - 1]];
  let step = niceStep(high - low || Math.abs(low) * 0.1 || 1, Math.max(8, Math.min(24, width / 22)));
  if (whole) step = Math.max(1, Math.round(step));
  const first = Math.floor(low / step + 1e-9);
  const bins = Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, () => ({ ct: 0, mri: 0 }));
  for (const { value, modality } of values) bins[Math.floor(value / step + 1e-9) - first][modality === "mri" ? "mri" : "ct"] += 1;

  const [left, right, top, bottom, height] = [42, width - 10, 8, 168, 208];
  const x = linear(first * step, (first + bins.length) * step, left, right);
  const y = linear(0, Math.max(...bins.map((bin) => bin.ct + bin.mri)), bottom, top);
  const gap = (right - left) / bins.length > 6 ? 1 : 0;
  const bars = bins.flatMap((bin, index) => {
    const from = x((first + index) * step) + gap;
    const size = Math.max(1, x((first + index + 1) * step) - from - gap);
    const range = `${decimal((first + index) * step, 4)} to ${decimal((first + index + 1) * step, 4)}`;
    const tip = `${range}: ${count(bin.ct)} CT, ${count(bin.mri)} MR`;
    return [["ct", 0, bin.ct], ["mri", bin.ct, bin.mri]].filter(([, , n]) => n > 0).map(([kind, below, n]) =>
      svg("rect", { class: kind, x: from, width: size, y: y(below + n), height: y(below) - y(below + n), ...tipOn(tip) }));
  });
  const lines = y.ticks(4).filter(Number.isInteger).map((value) => [
    svg("line", { class: "grid", x1: left, x2: right, y1: y(value), y2: y(value) }),
    svg("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, count(value)),
  ]);
  const text = `${axis}, ${plural(values.length, "value")}: minimum ${decimal(low)}, median ${decimal(quantile(sorted, 0.5))}, maximum ${decimal(high)}`;
  return drawing(width, height, text, [
    svg("g", { class: "axis" }, lines,
      svg("text", { class: "title", x: 10, y: (top + bottom) / 2, "text-anchor": "middle", transform: `rotate(-90 10 ${(top + bottom) / 2})` }, what)),
    bottomAxis(x, x.ticks(Math.max(3, width / 75)), { left, right, top: bottom, bottom, title: axis }), bars]);
}

// Horizontal bars with their numbers. rows: [{name, ct, mri}].
function bars(width, rows, { axis }) {
  if (rows.length === 0) return nothingToDraw();
  const [line, top] = [22, 4];
  const left = Math.min(7 * Math.max(...rows.map((row) => row.name.length)) + 20, width * 0.45);
  const right = width - 44;
  const bottom = top + rows.length * line;
  const x = linear(0, Math.max(...rows.map((row) => row.ct + row.mri)), left, right);
  const fits = Math.floor((left - 8) / 6.4);
  const drawn = rows.map((row, index) => {
    const y = top + index * line;
    const name = row.name.length > fits ? `${row.name.slice(0, fits - 1)}…` : row.name;
    const tip = `${row.name}: ${count(row.ct)} CT, ${count(row.mri)} MR`;
    return svg("g", tipOn(tip),
      svg("rect", { class: "catch", x: 0, width, y, height: line }),
      svg("text", { x: left - 8, y: y + 15, "text-anchor": "end" }, name),
      svg("rect", { class: "ct", x: left, width: x(row.ct) - left, y: y + 4, height: line - 8 }),
      svg("rect", { class: "mri", x: x(row.ct), width: x(row.ct + row.mri) - x(row.ct), y: y + 4, height: line - 8 }),
      svg("text", { class: "value", x: x(row.ct + row.mri) + 6, y: y + 15 }, count(row.ct + row.mri)));
  });
  const text = `${axis}: ${rows.map((row) => `${row.name} ${row.ct + row.mri}`).join(", ")}`;
  return drawing(width, bottom + 26, text, [drawn,
    svg("g", { class: "axis" }, svg("line", { class: "base", x1: left, x2: left, y1: top, y2: bottom }),
      svg("text", { class: "title", x: (left + right) / 2, y: bottom + 16, "text-anchor": "middle" }, axis))]);
}

// One tooltip for all charts; what it says is also in the element's label or in a table beside.
function tipOn(text) {
  const show = (event) => showTip(event.currentTarget, text);
  return { onpointerenter: show, onpointerleave: hideTip, onfocus: show, onblur: hideTip };
}

function showTip(target, text) {
  placeTip(target.getBoundingClientRect(), text);
}

// Beside the pointer: above it, so that a finger does not hide it. In a dialog, within it.
function showTipAt(x, y, text) {
  placeTip({ left: x, width: 0, top: y - 8, bottom: y + 14 }, text);
}

function placeTip(at, text) {
  const tip = byId("tip");
  const home = document.querySelector("dialog[open]") ?? document.body;
  if (tip.parentNode !== home) home.append(tip);
  tip.textContent = text;
  tip.hidden = false;
  const half = tip.offsetWidth / 2;
  const middle = Math.min(Math.max(at.left + at.width / 2, half + 6), document.documentElement.clientWidth - half - 6);
  tip.style.left = `${middle - half}px`;
  tip.style.top = `${at.top > tip.offsetHeight + 60 ? at.top - tip.offsetHeight - 6 : at.bottom + 6}px`;
}

function hideTip() {
  byId("tip").hidden = true;
}
