// What the reviewer chose: filters, rejections and reviews, with the file they become.

const filters = { subset: "", modality: "", scanner: "", organ: "", text: "" };
let chosenSamples = content.samples;
let chosenIds = new Set(content.samples.map((sample) => sample.id));
const onFilter = [];

const touches = (sample, label) => sample.changes.some(([from, to]) => from === label || to === label);
const filtering = () => Object.values(filters).some((value) => value !== "");

function isChosen(sample) {
  if (filters.subset && sample.subset !== filters.subset) return false;
  if (filters.modality && sample.modality !== filters.modality) return false;
  if (filters.scanner && sample.scanner !== filters.scanner) return false;
  if (filters.organ) {
    const label = Number(filters.organ);
    if (!(sample.labels ?? []).includes(label) && !touches(sample, label)) return false;
  }
  return sample.id.toLowerCase().includes(filters.text);
}

function applyFilters() {
  chosenSamples = content.samples.filter(isChosen);
  chosenIds = new Set(chosenSamples.map((sample) => sample.id));
  for (const listener of onFilter) listener();
}

// What belongs to no listed sample can be told by its id alone.
function isChosenId(id) {
  if (sampleById.has(id)) return chosenIds.has(id);
  const others = filters.subset || filters.modality || filters.scanner || filters.organ;
  return !others && id.toLowerCase().includes(filters.text);
}

// A rejection is keyed as its line of the file: "amos_0004,6", and "amos_0004," for all labels.
const keyOf = (sample, label) => `${sample},${label ?? ""}`;
const inForce = new Map(content.exclusions.map((one) => [keyOf(one.sample, one.label), one]));
const kept = remembered(STORE) ?? {};
const listOf = (value) => (Array.isArray(value) ? value.filter((key) => typeof key === "string") : []);
const rejected = new Set(listOf(kept.rejected).filter((key) => isRejectable(key) && !inForce.has(key)));
const withdrawn = new Set(listOf(kept.withdrawn).filter((key) => inForce.has(key)));
const onReject = [];

// Sample -> what was said of it: verdict, the changed voxels it had then, a note. The saved file
// carries them as comments, and the page of the next run has them from there.
const VERDICTS = { accepted: "Accept", seen: "Seen" };
const LONGEST_NOTE = 200;
const reviews = new Map(content.reviews.map((one) => [one.sample, one]));
for (const one of Array.isArray(kept.reviews) ? kept.reviews : []) {
  if (typeof one?.sample === "string" && typeof one.note === "string" && Number.isInteger(one.changed_voxels)
    && (one.verdict === "" || Object.hasOwn(VERDICTS, one.verdict))) reviews.set(one.sample, one);
}

// What was said of other changes than those that are shown does not count for these.
function verdictOf(sample) {
  const said = reviews.get(sample.id);
  return said?.changed_voxels === sample.changed_voxels ? said.verdict : "";
}
const noteOf = (sample) => reviews.get(sample.id)?.note ?? "";

function say(sample, said) {
  const before = { verdict: verdictOf(sample), note: noteOf(sample) };
  reviews.set(sample.id, { sample: sample.id, changed_voxels: sample.changed_voxels, ...before, ...said });
  changedRejections();
}

// To accept all and to reject all exclude each other; some labels may be rejected and the rest accepted.
function toggleVerdict(sample, verdict) {
  const on = verdictOf(sample) !== verdict;
  if (on && verdict === "accepted" && isRejected(sample.id, null)) toggleRejection(sample.id, null);
  say(sample, { verdict: on ? verdict : "" });
}

const isReviewed = (sample) => verdictOf(sample) !== "" || isLeftUndone(sample.id, null)
  || changedLabels(sample.changes).some((label) => isRejected(sample.id, label));

// Only what this page offers: what the browser kept may be older than the page.
function isRejectable(key) {
  const [id, label] = key.split(",");
  const sample = sampleById.get(id);
  return Boolean(sample) && (label === "" || (/^\d+$/.test(label) && touches(sample, Number(label))));
}

const holds = (key) => rejected.has(key) || (inForce.has(key) && !withdrawn.has(key));
const isRejected = (id, label) => holds(keyOf(id, label));
const isLeftUndone = (id, label) =>
  isRejected(id, null) || isRejected("*", null) || isRejected(id, label) || isRejected("*", label);

function toggleRejection(id, label) {
  const key = keyOf(id, label);
  if (inForce.has(key)) flip(withdrawn, key);
  else flip(rejected, key);
  const sample = sampleById.get(id);
  if (sample && label === null && isRejected(id, null) && verdictOf(sample) === "accepted") say(sample, { verdict: "" });
  else changedRejections();
}

function flip(set, key) {
  if (!set.delete(key)) set.add(key);
}

function clearRejections() {
  rejected.clear();
  withdrawn.clear();
  changedRejections();
}

function changedRejections() {
  remember(STORE, { rejected: [...rejected].sort(), withdrawn: [...withdrawn].sort(), reviews: [...reviews.values()] });
  for (const listener of onReject) listener();
}

// The same choices give the same file, whatever the order they were made in.
function exclusionFile() {
  const rows = new Map();
  for (const [key, one] of inForce) if (!withdrawn.has(key)) rows.set(key, [one.sample, one.label ?? ""]);
  for (const key of rejected) {
    const [id, label] = key.split(",");
    const whole = label !== "" && (isRejected(id, null) || isRejected("*", null));
    if (!whole) rows.set(key, [id, label === "" ? "" : Number(label)]);
  }
  const rank = (sample) => (sample === "*" ? "" : sample);
  const sorted = [...rows.values()].sort(
    (a, b) => collator.compare(rank(a[0]), rank(b[0])) || (a[1] === "" ? -1 : a[1]) - (b[1] === "" ? -1 : b[1]));
  return ["sample,label", ...sorted.map(([sample, label]) => `${sample},${label}`), ...reviewLines(), ""].join("\n");
}

// Comments to whoever reads exclusions: how far the review is, and what was said of each sample.
function reviewLines() {
  const said = [...reviews.values()].filter((one) => one.verdict !== "" || one.note !== "")
    .sort((a, b) => collator.compare(a.sample, b.sample));
  const n = worstFirst.filter(isReviewed).length;
  if (n === 0 && said.length === 0) return [];
  const quoted = (text) => `"${oneLine(text).replaceAll('"', '""')}"`;
  return [`# ${count(n)} of ${count(worstFirst.length)} reviewed`,
    ...said.map((one) => `# review: ${one.sample},${one.verdict},${one.changed_voxels},${quoted(one.note)}`)];
}

// Whatever a reader may take for the end of a line.
const oneLine = (text) => text.replace(/[\p{Cc}\u2028\u2029]+/gu, " ").trim();

function saveExclusions() {
  const url = URL.createObjectURL(new Blob([exclusionFile()], { type: "text/csv" }));
  el("a", { href: url, download: "denoise_exclude.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
  byId("save-next").replaceChildren(
    "Saved as denoise_exclude.csv. Next: ",
    el("code", {}, "amos-dask run … --exclude denoise_exclude.csv"), " or ",
    el("code", {}, "amos-dask denoise … --exclude denoise_exclude.csv"));
  byId("save-next").hidden = false;
}

function drawSaveBar() {
  const n = worstFirst.filter(isReviewed).length;
  const parts = [`${count(n)} of ${count(worstFirst.length)} reviewed`, plural(rejected.size, "rejection")];
  if (withdrawn.size) parts.push(`${count(withdrawn.size)} withdrawn`);
  const standing = inForce.size - withdrawn.size;
  if (inForce.size) parts.push(`${count(standing)} in force`);
  byId("save-count").textContent = parts.join(" · ");
  const changed = rejected.size + withdrawn.size > 0;
  byId("savebar").classList.toggle("idle", !changed);
  byId("save-clear").hidden = !changed;
  byId("save").disabled = !changed && inForce.size === 0 && reviewLines().length === 0;
  byId("save-next").hidden = true;
}

const MOST_EXCLUSIONS = 12;
const unfolded = new Set();

// A long list shows its first rows, and a button the rest; on paper all are there.
function folded(list, rows, most, name, key = name) {
  if (rows.length <= most + 1) return list;
  const box = el("div", { class: "folded" }, list);
  for (const row of rows.slice(most)) row.classList.add("rest");
  const button = el("button", { type: "button", class: "small fold", "aria-expanded": "false" });
  const draw = () => {
    const open = unfolded.has(key);
    box.classList.toggle("open", open);
    button.setAttribute("aria-expanded", String(open));
    button.textContent = open ? `Show the first ${most}` : `Show all ${plural(rows.length, name)}`;
  };
  button.addEventListener("click", () => { flip(unfolded, key); draw(); });
  box.append(button);
  draw();
  return box;
}

function drawExclusions() {
  const box = byId("exclusions");
  if (inForce.size === 0) { box.replaceChildren(); return; }
  const rows = [...inForce].map(([key, one]) => {
    const gone = withdrawn.has(key);
    const sample = one.sample === "*" ? "every sample" : one.sample;
    const label = known(one.label) ? labelName(one.label) : "all labels";
    return el("li", { class: gone ? "gone" : null },
      one.sample === "*" ? el("span", { class: "id" }, sample) : sampleLink(one.sample),
      known(one.label) ? chip(one.label) : el("span", { class: "chip" }, label),
      el("button", { type: "button", class: "small", "aria-pressed": String(gone), "data-key": key,
        "aria-label": `Withdraw the exclusion of ${sample}, ${label}`,
        onclick: () => toggleRejection(one.sample, one.label) }, gone ? "Withdrawn" : "Withdraw"));
  });
  const focused = document.activeElement?.dataset?.key;
  box.replaceChildren(el("div", { class: "panel" },
    el("h3", {}, "Exclusions in force"),
    el("p", { class: "muted" }, "Left as they were by this run. What is withdrawn is denoised again."),
    folded(el("ul", { class: "exclusions" }, rows), rows, MOST_EXCLUSIONS, "exclusion")));
  if (focused) [...box.querySelectorAll("button")].find((one) => one.dataset.key === focused)?.focus();
}

function startChoices() {
  const distinct = (name) => [...new Set(content.samples.map((sample) => sample[name]))].sort(collator.compare);
  const inUse = new Set(content.samples.flatMap((one) => [...(one.labels ?? []), ...one.changes.flatMap(([a, b]) => [a, b])]));
  const options = {
    subset: distinct("subset").map((value) => [value, value]),
    modality: distinct("modality").map((value) => [value, modalityName(value)]),
    scanner: distinct("scanner").map((value) => [value, value]),
    organ: [...labels.keys()].filter((index) => index !== 0 && inUse.has(index)).map((index) => [index, labelName(index)]),
  };
  const everything = { subset: "all subsets", modality: "all modalities", scanner: "all scanners", organ: "all organs" };
  for (const [name, choices] of Object.entries(options)) {
    const select = byId(`filter-${name}`);
    select.append(el("option", { value: "" }, everything[name]),
      ...choices.filter(([value]) => value !== "").map(([value, text]) => el("option", { value }, text)));
    select.addEventListener("change", () => { filters[name] = select.value; applyFilters(); });
  }
  byId("filter-text").addEventListener("input", (event) => {
    filters.text = event.target.value.trim().toLowerCase();
    applyFilters();
  });
  byId("filter-clear").addEventListener("click", () => {
    for (const name of Object.keys(filters)) { filters[name] = ""; byId(`filter-${name}`).value = ""; }
    applyFilters();
  });
  byId("save").addEventListener("click", saveExclusions);
  byId("save-clear").addEventListener("click", () => { clearRejections(); byId("save").focus(); });
  onFilter.push(() => {
    const text = `${count(chosenSamples.length)} of ${plural(content.samples.length, "sample")}`;
    byId("shown").textContent = text;
    byId("shown-short").textContent = text;
    byId("filter-clear").disabled = !filtering();
    for (const [name, value] of Object.entries(filters)) byId(`filter-${name}`).classList.toggle("active", value !== "");
  });
  onReject.push(drawSaveBar, drawExclusions);
  drawSaveBar();
  drawExclusions();
}
