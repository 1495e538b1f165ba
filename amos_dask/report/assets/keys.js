// The keyboard.

const typing = (target) => target.matches("select, textarea, input:not([type=range], [type=checkbox])");

const viewerKeys = {
  ArrowLeft: () => stepViewer(-1),
  ArrowRight: () => stepViewer(1),
  b: flipView,
  v: () => showAs("pair"),
  h: () => showHalo(!byId("halo").checked),
  z: toggleZoom,
  r: () => toggleRejection(viewer.sample.id, null),
  a: () => toggleVerdict(viewer.sample, "accepted"),
  e: () => toggleVerdict(viewer.sample, "seen"),
};

const pageKeys = {
  j: () => stepCard(1),
  k: () => stepCard(-1),
  r: () => { if (review.current) toggleRejection(review.current, null); },
  a: () => { if (review.current) toggleVerdict(sampleById.get(review.current), "accepted"); },
  e: () => { if (review.current) toggleVerdict(sampleById.get(review.current), "seen"); },
  n: () => cardOf(review.current)?.querySelector(".note").focus(),
  b: flipView,
  v: () => showAs("pair"),
  h: () => showHalo(!byId("halo").checked),
  s: () => { if (!byId("save").disabled) byId("save").click(); },
  "/": () => { byId("controls").open = true; byId("filter-text").focus(); byId("filter-text").select(); },
  "?": () => byId("help").showModal(),
};
const cardKeys = { ArrowDown: pageKeys.j, ArrowUp: pageKeys.k };

// Keys may be faster than pictures, which a card gets when it comes near the window.
function enlarge(card) {
  card.showPictures?.();
  card.querySelector("button.views")?.click();
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || !(event.target instanceof Element)) return;
  if (byId("help").open) return;
  if (event.key === "Escape" && event.target === byId("filter-text")) event.target.blur();
  // Back to the card, where the keys are.
  if (["Escape", "Enter"].includes(event.key) && event.target.matches(".note")) {
    event.target.closest(".card").focus({ preventScroll: true });
    event.preventDefault();
    return;
  }
  if (typing(event.target)) return;
  let action = null;
  if (byId("viewer").open) action = viewerKeys[event.key];
  else if (event.key === "Enter") action = event.target.matches(".card") && (() => enlarge(event.target));
  else if (event.key in cardKeys) action = event.target.closest(".card") && cardKeys[event.key];
  else action = pageKeys[event.key] ?? (review.current ? () => rejectByKey(event.key) : null);
  if (!action) return;
  if (action() !== false) event.preventDefault();
}

function startKeys() {
  document.addEventListener("keydown", onKey);
  byId("help-button").addEventListener("click", () => byId("help").showModal());
  byId("help-close").addEventListener("click", () => byId("help").close());
  byId("help").addEventListener("click", (event) => { if (event.target === byId("help")) byId("help").close(); });
}
