// What every part needs: the data, elements, numbers, names of labels.

const NONE = "–";
const byId = (id) => document.getElementById(id);
const readJson = (id) => JSON.parse(byId(id).textContent);

const content = readJson("content");
const times = readJson("times");
const sampleById = new Map(content.samples.map((sample) => [sample.id, sample]));
// Masks that are denoised and of which it is not known what was changed: not to be called unchanged.
const nUnknownChanges = content.issues.filter((issue) => issue.code === "unknown_changes").length;

// Text of the data only ever becomes text nodes and attributes: it comes from files nobody vouched for.
function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "colour") node.style.setProperty("--colour", value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const el = (tag, attributes = {}, ...children) =>
  fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

const known = (value) => value !== null && value !== undefined && value !== "";
const formats = new Map();

// Formats are kept: to make one costs more than to use it a thousand times.
function formatted(value, least, most) {
  const key = `${least} ${most}`;
  if (!formats.has(key)) {
    formats.set(key, new Intl.NumberFormat("en-US", { minimumFractionDigits: least, maximumFractionDigits: most }));
  }
  return formats.get(key).format(value);
}

const collator = new Intl.Collator("en", { numeric: true });

const count = (value) => (known(value) ? formatted(value, 0, 0) : NONE);
const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

// As many decimals as three significant digits need, so that columns of one kind stay comparable.
function decimal(value, digits = 3) {
  if (!known(value)) return NONE;
  const size = Math.abs(value);
  if (size !== 0 && size < 1e-3) return value.toExponential(1);
  const decimals = size === 0 ? 0 : Math.max(0, digits - 1 - Math.floor(Math.log10(size)));
  return formatted(value, 0, Math.min(decimals, 4));
}

const fixed = (value, decimals) => (known(value) ? formatted(value, decimals, decimals) : NONE);

const MODALITIES = { ct: "CT", mri: "MR", und: "UND" };
const modalityName = (modality) => MODALITIES[modality] ?? modality;

const labels = new Map(content.labels.map((label) => [label.index, label]));
const COLOUR = /^#[0-9a-f]{3,8}$/i;

// Where the definition leaves all labels as they are, there is nothing to tell of changes.
const denoises = content.counts.changed_voxels > 0
  || content.labels.some((one) => one.index !== 0 && !content.not_denoised.includes(one.index));

function labelName(index) {
  return labels.get(index)?.name ?? `label ${index}`;
}

function labelColour(index) {
  const colour = labels.get(index)?.colour ?? "";
  return index !== 0 && COLOUR.test(colour) ? colour : null;
}

function chip(index) {
  return el("span", { class: index === 0 ? "chip none" : "chip" },
    el("span", { class: "swatch", colour: labelColour(index) }), labelName(index));
}

function sampleLink(id) {
  const sample = sampleById.get(id);
  if (!sample?.changed_voxels) return el("span", { class: "id" }, id || "dataset");
  return el("a", { class: "id", href: `#card-${id}`, onclick: (event) => {
    event.preventDefault();
    goToCard(id);
  } }, id);
}

const changedLabels = (changes) =>
  [...new Set(changes.flatMap(([from, to]) => [from, to]))].filter((label) => label !== 0).sort((a, b) => a - b);

// Samples that denoising changed, as they are reviewed.
const worstFirst = content.samples
  .filter((sample) => sample.changed_voxels > 0)
  .sort((a, b) => b.changed_voxels - a.changed_voxels || collator.compare(a.id, b.id));

const calm = (text) => el("p", { class: "calm" }, text);
const sum = (values) => values.reduce((total, value) => total + value, 0);

// Between order statistics as numpy's default rule; the values ascend.
function quantile(sorted, fraction) {
  const place = (sorted.length - 1) * fraction;
  const below = Math.floor(place);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (sorted[above] - sorted[below]) * (place - below);
}

// What was remembered may be forbidden, full or of another time: the page works without it.
// All pages from disk may share one memory, and folders of several places have the same name.
const STORE = `amos-dask:${location.pathname}:${content.root}:${content.samples.length}`;
function remember(name, value) {
  try { localStorage.setItem(name, JSON.stringify(value)); } catch { /* not kept */ }
}
function remembered(name) {
  try { return JSON.parse(localStorage.getItem(name)); } catch { return null; }
}
