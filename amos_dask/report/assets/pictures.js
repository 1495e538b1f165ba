// Pictures of slices: grey image, labels and rings in layers; and the viewer that enlarges them.

const OPPOSITE = { R: "L", L: "R", A: "P", P: "A", S: "I", I: "S" };
const view = { mode: "pair", shown: "after" };

const picturesOf = (id) => byId(`pictures-${id}`);

function slicesOf(id) {
  try { return JSON.parse(picturesOf(id)?.textContent ?? "[]"); } catch { return []; }
}

// The browser decodes equal addresses once: the grey image and the rings serve before and after.
const jpeg = (base64) => `data:image/jpeg;base64,${base64}`;
const png = (base64) => `data:image/png;base64,${base64}`;

const layers = (slice, which) => [
  el("img", { src: jpeg(slice.image), alt: "", class: "grey", decoding: "async" }),
  el("img", { src: png(slice[which]), alt: "", class: "labels", decoding: "async" }),
  el("img", { src: png(slice.halo), alt: "", class: "halo", decoding: "async" }),
];

function makeView(slice, which) {
  const [left, top] = slice.letters;
  const stack = el("span", { class: "stack" }, layers(slice, which));
  stack.style.setProperty("--ratio", (slice.width * slice.mm[0]) / (slice.height * slice.mm[1]) || 1);
  nameOnHover(stack, slice);
  return el("span", { class: `view ${which}` }, stack,
    [["left", left], ["top", top], ["right", OPPOSITE[left]], ["bottom", OPPOSITE[top]]].map(([edge, letter]) =>
      el("span", { class: `letter ${edge}`, "aria-hidden": "true" }, letter ?? "")),
    el("span", { class: "tag", "aria-hidden": "true" }, which));
}

const sliceTitle = (sample, slice) =>
  `${slice.plane} slice ${slice.k}${sample.shape ? ` of 0–${sample.shape[2] - 1}` : ""}${content.pictured_channel && ` · ${content.pictured_channel}`}`;

const MOST_CHIPS = 6;

function captionChips(found) {
  if (found.length <= MOST_CHIPS + 1) return found.map(chip);
  const rest = found.slice(MOST_CHIPS);
  return [...found.slice(0, MOST_CHIPS).map(chip), el("span", { class: "muted", title: rest.map(labelName).join(", ") }, `and ${count(rest.length)} more`)];
}

function sliceCaption(sample, slice) {
  return [
    el("span", { class: "where" }, sliceTitle(sample, slice)),
    el("span", { class: "muted" }, plural(sum(slice.changes.map((change) => change[2])), "voxel")),
    captionChips(changedLabels(slice.changes)),
  ];
}

// The pictures of one card: made when it comes near the window, let go when it is far away. The
// frames stay, so that nothing on the page moves.
const farAndNear = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    target.isNear = isIntersecting;
    if (isIntersecting) target.showPictures(); else target.hidePictures();
  }
}, { rootMargin: "900px" });

function makePictures(sample) {
  const placeholders = Array.from({ length: sample.n_pictures }, () =>
    el("figure", { class: "slice" },
      el("span", { class: "views" }, el("span", { class: "view" }), el("span", { class: "view" })),
      el("figcaption", {}, "…")));
  return el("div", { class: "pictures" }, placeholders.length ? placeholders : calm("No pictures."));
}

function watchPictures(card, sample) {
  if (sample.n_pictures === 0) return;
  const box = card.querySelector(".pictures");
  let made = false;
  let filled = false;

  const makeFigure = (slice, index) => el("figure", { class: "slice" },
    el("button", { type: "button", class: "views",
      "aria-label": `Enlarge ${sliceTitle(sample, slice)} of ${sample.id}, before and after`,
      onclick: () => openViewer(sample, index) },
      makeView(slice, "before"), makeView(slice, "after")),
    el("figcaption", {}, sliceCaption(sample, slice)));

  card.showPictures = () => {
    if (filled) return;
    if (!picturesOf(sample.id) && document.readyState === "loading") {
      document.addEventListener("DOMContentLoaded", () => { if (card.isNear) card.showPictures(); }, { once: true });
      return;
    }
    const slices = slicesOf(sample.id);
    if (!made) box.replaceChildren(...(slices.length ? slices.map(makeFigure) : [calm("No pictures.")]));
    else {
      const stacks = box.querySelectorAll(".stack");
      slices.forEach((slice, index) => {
        stacks[2 * index].replaceChildren(...layers(slice, "before"));
        stacks[2 * index + 1].replaceChildren(...layers(slice, "after"));
      });
    }
    [made, filled] = [true, true];
  };

  card.hidePictures = () => {
    if (filled) for (const stack of box.querySelectorAll(".stack")) stack.replaceChildren();
    filled = false;
  };

  farAndNear.observe(card);
}

// How pictures are shown, for all of them.

function showAs(mode, shown = view.shown) {
  // Pictures change their size; what is looked at keeps its place.
  const current = review.current && cardOf(review.current);
  const top = current?.getBoundingClientRect().top;
  view.mode = mode;
  view.shown = shown;
  document.body.classList.toggle("single", mode === "single");
  document.body.dataset.shown = shown;
  const pressed = { pair: mode === "pair", before: mode === "single" && shown === "before", after: mode === "single" && shown === "after" };
  for (const [name, on] of Object.entries(pressed)) byId(`view-${name}`).setAttribute("aria-pressed", String(on));
  if (current) window.scrollBy(0, current.getBoundingClientRect().top - top);
}

function flipView() {
  if (view.mode === "pair") showAs("single", "before");
  else showAs("single", view.shown === "before" ? "after" : "before");
}

function showHalo(on) {
  byId("halo").checked = on;
  document.body.classList.toggle("no-halo", !on);
}

function startViews() {
  byId("view-pair").addEventListener("click", () => showAs("pair"));
  byId("view-before").addEventListener("click", () => showAs("single", "before"));
  byId("view-after").addEventListener("click", () => showAs("single", "after"));
  byId("halo").addEventListener("change", (event) => showHalo(event.target.checked));
  const setOpacity = () => document.documentElement.style.setProperty("--overlay", byId("opacity").value / 100);
  byId("opacity").addEventListener("input", setOpacity);
  setOpacity();
  showAs("pair");
  showHalo(true);
}

// The viewer.

const viewer = { sample: null, slices: [], index: 0, zoomed: false };

function openViewer(sample, index) {
  viewer.sample = sample;
  viewer.slices = slicesOf(sample.id);
  viewer.index = index;
  viewer.from = document.activeElement;
  setCurrent(sample.id, { scroll: false });
  drawViewer();
  byId("viewer").showModal();
  byId("viewer-close").focus();
}

function drawViewer() {
  const { sample, slices, index } = viewer;
  const slice = slices[index];
  byId("viewer-title").textContent = `${sample.id} · ${sliceTitle(sample, slice)}`;
  byId("viewer-position").textContent = `${index + 1} / ${slices.length}`;
  byId("viewer-views").replaceChildren(
    makeView(slice, "before"), makeView(slice, "after"));
  byId("viewer-foot").replaceChildren(...sliceCaption(sample, slice).slice(1).flat());
  drawViewerReject();
  zoomViewer();
}

function drawViewerReject() {
  if (!viewer.sample) return;
  const on = isRejected(viewer.sample.id, null);
  const button = byId("viewer-reject");
  button.setAttribute("aria-pressed", String(on));
  button.replaceChildren(on ? "Rejected " : "Reject sample ", el("kbd", {}, "r"));
  const verdict = verdictOf(viewer.sample);
  for (const one of Object.keys(VERDICTS)) byId(`viewer-${one}`).setAttribute("aria-pressed", String(one === verdict));
}

function stepViewer(by) {
  viewer.index = (viewer.index + by + viewer.slices.length) % viewer.slices.length;
  drawViewer();
}

// The box around the rings, in fractions of the picture.
async function changedBox(halo) {
  const image = el("img", { src: png(halo) });
  await image.decode();
  const [width, height] = [image.naturalWidth, image.naturalHeight];
  const context = el("canvas", { width, height }).getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  let [left, top, right, bottom] = [width, height, -1, -1];
  for (let place = 3; place < data.length; place += 4) {
    if (data[place] === 0) continue;
    const x = ((place - 3) / 4) % width;
    const y = Math.floor((place - 3) / 4 / width);
    [left, top, right, bottom] = [Math.min(left, x), Math.min(top, y), Math.max(right, x), Math.max(bottom, y)];
  }
  if (right < 0) return null;
  const size = Math.max((right - left + 1) / width, (bottom - top + 1) / height);
  return { x: (left + right + 1) / 2 / width, y: (top + bottom + 1) / 2 / height, size };
}

async function zoomViewer() {
  byId("viewer-zoom").setAttribute("aria-pressed", String(viewer.zoomed));
  const stacks = byId("viewer-views").querySelectorAll(".stack");
  const slice = viewer.slices[viewer.index];
  const place = viewer.zoomed ? await changedBox(slice.halo) : null;
  for (const stack of stacks) {
    if (!place) { stack.style.transform = ""; continue; }
    const scale = Math.min(8, Math.max(2, 0.7 / place.size));
    stack.style.transformOrigin = `${place.x * 100}% ${place.y * 100}%`;
    stack.style.transform = `translate(${(0.5 - place.x) * 100}%, ${(0.5 - place.y) * 100}%) scale(${scale})`;
  }
}

function toggleZoom() {
  viewer.zoomed = !viewer.zoomed;
  zoomViewer();
}

// Pressed and held, a picture shows the mask before.
function hold(on) {
  byId("viewer").classList.toggle("holding", on);
}

function startViewer() {
  const dialog = byId("viewer");
  byId("viewer-previous").addEventListener("click", () => stepViewer(-1));
  byId("viewer-next").addEventListener("click", () => stepViewer(1));
  byId("viewer-flip").addEventListener("click", flipView);
  byId("viewer-zoom").addEventListener("click", toggleZoom);
  byId("viewer-close").addEventListener("click", () => dialog.close());
  for (const one of Object.keys(VERDICTS)) byId(`viewer-${one}`).addEventListener("click", () => toggleVerdict(viewer.sample, one));
  byId("viewer-reject").addEventListener("click", () => toggleRejection(viewer.sample.id, null));
  byId("viewer-views").addEventListener("pointerdown", (event) => { if (event.button === 0) hold(true); });
  for (const name of ["pointerup", "pointercancel", "blur"]) window.addEventListener(name, () => hold(false));
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => {
    byId("viewer-views").replaceChildren();
    viewer.from?.focus({ preventScroll: true });
  });
  onReject.push(drawViewerReject);
}
