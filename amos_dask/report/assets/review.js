// The cards: what was changed in each sample, worst first, and the rejecting of it.

const CARDS_AT_ONCE = 20;
const MOST_LEFT = 12;
const MOST_ROWS = 8;
// Keys of a card's labels, in order, without the letters that mean something else.
const LABEL_KEYS = [..."123456789cdfgilmopqtuwxy"];
const VERDICT_KEYS = { accepted: "a", seen: "e" };

const review = { samples: [], shown: 0, current: null };
const cardOf = (id) => byId(`card-${id}`);

function makeCard(sample) {
  const labelsChanged = changedLabels(sample.changes);
  const [before, after] = [new Map(sample.regions_before), new Map(sample.regions_after)];
  const total = (regions) => sum([...regions.values()]);
  const facts = [sample.subset, modalityName(sample.modality), sample.scanner, sample.sex];

  const labelRows = labelsChanged.map((label, index) => {
    const key = LABEL_KEYS[index];
    return el("tr", {},
      el("th", { scope: "row" }, chip(label)),
      el("td", { class: "number" }, before.has(label) || after.has(label)
        ? `${count(before.get(label) ?? 0)} → ${count(after.get(label) ?? 0)}` : NONE),
      el("td", { class: "action" }, el("button", { type: "button", class: "small reject", "data-label": label, "data-keys": key,
        "aria-label": `Reject changes of ${labelName(label)} in ${sample.id}`,
        onclick: () => toggleRejection(sample.id, label) },
        el("span", {}, "Reject"), key ? el("kbd", {}, key) : null)));
  });
  const changeRows = [...sample.changes].sort((a, b) => b[2] - a[2]).map(([from, to, n]) =>
    el("tr", { "data-from": from, "data-to": to },
      el("td", {}, chip(from)), el("td", { class: "arrow" }, "→"), el("td", {}, chip(to)),
      el("td", { class: "number" }, count(n))));

  const card = el("article", { class: "card", id: `card-${sample.id}`, tabindex: "-1", "aria-labelledby": `name-${sample.id}`,
    onfocusin: () => setCurrent(sample.id, { scroll: false }),
    onpointerdown: () => setCurrent(sample.id, { scroll: false }) },
    el("header", {},
      el("h3", { class: "id", id: `name-${sample.id}` }, sample.id),
      el("span", { class: "facts" }, facts.filter(known).map((fact) => el("span", { class: "fact" }, fact))),
      el("span", { class: "spring" }),
      figureOf("changed voxels", count(sample.changed_voxels)),
      figureOf("mm³", decimal(sample.changed_mm3, 4)),
      figureOf("regions", `${count(total(before))} → ${count(total(after))}`)),
    makeVerdict(sample),
    el("div", { class: "body" },
      makePictures(sample),
      el("div", { class: "tables" },
        folded(el("table", { class: "small" },
          el("caption", { class: "hidden" }, `Labels changed in ${sample.id}`),
          el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Label"),
            el("th", { scope: "col", class: "number" }, "Regions"),
            el("th", { scope: "col" }, el("span", { class: "hidden" }, "Reject")))),
          el("tbody", {}, labelRows)), labelRows, MOST_ROWS, "label", `labels of ${sample.id}`),
        folded(el("table", { class: "small" },
          el("caption", { class: "hidden" }, `Changes in ${sample.id}`),
          el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "From"), el("th", { scope: "col" }, el("span", { class: "hidden" }, "to")),
            el("th", { scope: "col" }, "To"), el("th", { scope: "col", class: "number" }, "Voxels"))),
          el("tbody", {}, changeRows)), changeRows, MOST_ROWS, "change", `changes of ${sample.id}`),
        makeFiles(sample))));
  watchPictures(card, sample);
  markCard(card, sample);
  return card;
}

const figureOf = (name, value) =>
  el("span", { class: "figure" }, el("b", {}, value), " ", el("span", { class: "muted" }, name));

// What is said of the sample as a whole: accepted, seen, rejected, and a note.
function makeVerdict(sample) {
  return el("div", { class: "verdict", role: "group", "aria-label": `Verdict on ${sample.id}` },
    Object.entries(VERDICTS).map(([verdict, name]) =>
      el("button", { type: "button", class: verdict, "data-verdict": verdict, "aria-label": `${name} ${sample.id}`,
        onclick: () => toggleVerdict(sample, verdict) }, el("span", {}, name), el("kbd", {}, VERDICT_KEYS[verdict]))),
    el("button", { type: "button", class: "reject whole",
      "aria-label": `Reject all changes of ${sample.id}`,
      onclick: () => toggleRejection(sample.id, null) }, el("span", {}, "Reject sample"), el("kbd", {}, "r")),
    el("input", { type: "text", class: "note", maxlength: LONGEST_NOTE, placeholder: "Note  n", autocomplete: "off",
      "aria-label": `Note on ${sample.id}`, value: noteOf(sample),
      oninput: (event) => say(sample, { note: oneLine(event.target.value) }) }));
}

function markCard(card, sample) {
  const whole = isRejected(sample.id, null) || isRejected("*", null);
  card.classList.toggle("rejected", whole);
  const button = card.querySelector("button.whole");
  button.setAttribute("aria-pressed", String(isRejected(sample.id, null)));
  button.firstChild.textContent = isRejected(sample.id, null) ? "Rejected" : "Reject sample";
  const verdict = verdictOf(sample);
  card.classList.toggle("accepted", verdict === "accepted");
  card.classList.toggle("seen", verdict === "seen");
  for (const one of card.querySelectorAll("button[data-verdict]")) {
    one.setAttribute("aria-pressed", String(one.dataset.verdict === verdict));
  }
  for (const one of card.querySelectorAll("button[data-label]")) {
    const on = isRejected(sample.id, Number(one.dataset.label));
    one.setAttribute("aria-pressed", String(on));
    one.firstChild.textContent = on ? "Rejected" : "Reject";
  }
  for (const row of card.querySelectorAll("tr[data-from]")) {
    const { from, to } = row.dataset;
    row.classList.toggle("undone", isLeftUndone(sample.id, Number(from)) || isLeftUndone(sample.id, Number(to)));
  }
}

function drawCards() {
  const label = filters.organ === "" ? null : Number(filters.organ);
  for (const card of byId("cards").querySelectorAll(".card")) farAndNear.unobserve(card);
  byId("cards").replaceChildren();
  review.samples = worstFirst.filter((one) => chosenIds.has(one.id) && (label === null || touches(one, label)));
  review.shown = 0;
  if (!review.samples.some((one) => one.id === review.current)) review.current = null;
  if (review.samples.length === 0) {
    byId("cards").append(calm(worstFirst.length ? "No changed sample in this selection."
      : !denoises ? "Nothing is denoised: the dataset's definition leaves all labels as they are."
      : nUnknownChanges ? `What was changed is not known of ${plural(nUnknownChanges, "mask")}: see the issues.`
        : "No mask was changed."));
  }
  showCards(CARDS_AT_ONCE);
}

function showCards(upTo) {
  const more = review.samples.slice(review.shown, upTo);
  byId("cards").append(...more.map(makeCard));
  review.shown += more.length;
  if (review.current) cardOf(review.current)?.classList.add("current");
  const rest = review.samples.length - review.shown;
  byId("cards-more").replaceChildren(...(rest > 0 ? [
    el("button", { type: "button", onclick: () => showCards(review.shown + CARDS_AT_ONCE) },
      `Show ${Math.min(rest, CARDS_AT_ONCE)} more`),
    el("button", { type: "button", class: "quiet", onclick: () => showCards(review.samples.length) },
      `Show all ${count(review.samples.length)}`),
    el("span", { class: "muted" }, `${count(review.shown)} of ${plural(review.samples.length, "changed sample")} shown`),
  ] : []));
}

function setCurrent(id, { scroll = true } = {}) {
  if (review.current !== id) {
    if (review.current) cardOf(review.current)?.classList.remove("current");
    review.current = id;
  }
  const card = cardOf(id);
  card?.classList.add("current");
  if (card && scroll) {
    card.focus({ preventScroll: true });
    card.scrollIntoView({ block: "start" });
  }
}

function goToCard(id) {
  let place = review.samples.findIndex((one) => one.id === id);
  if (place < 0) {
    byId("filter-clear").click();
    place = review.samples.findIndex((one) => one.id === id);
  }
  if (place < 0) return;
  if (place >= review.shown) showCards(place + 1);
  setCurrent(id);
}

function stepCard(by) {
  const place = review.samples.findIndex((one) => one.id === review.current);
  const next = place < 0 ? 0 : Math.min(Math.max(place + by, 0), review.samples.length - 1);
  if (review.samples.length === 0) return;
  if (next >= review.shown) showCards(next + CARDS_AT_ONCE);
  setCurrent(review.samples[next].id);
}

function rejectByKey(key) {
  const button = cardOf(review.current)?.querySelector(`button[data-keys="${CSS.escape(key)}"]`);
  const fold = button?.closest("tr.rest") && button.closest(".folded:not(.open)")?.querySelector("button.fold");
  fold?.click();  // nothing is rejected out of sight
  button?.click();
  return Boolean(button);
}

// What the dataset's definition leaves, or where that is a long list, what it does not.
function describeLeft() {
  const names = (some) => some.map(labelName).join(", ");
  const left = content.not_denoised;
  const others = [...labels.keys()].filter((label) => label !== 0 && !left.includes(label));
  if (left.length === 0) return "";
  return left.length <= MOST_LEFT ? `Left as they are by the dataset's definition: ${names(left)}.`
    : `Denoised by the dataset's definition: ${names(others)}. It leaves the other ${count(left.length)} labels as they are.`;
}

function startReview() {
  for (const one of [byId("review-lead"), byId("savebar"), document.querySelector(".view-controls")]) one.hidden = !denoises;
  if (denoises) byId("review-notes").textContent = [describeLeft(), content.pictured_channel && `Pictures show the channel ${content.pictured_channel}.`].filter(Boolean).join(" ");
  onFilter.push(drawCards);
  onReject.push(() => {
    for (const card of byId("cards").querySelectorAll(".card")) markCard(card, sampleById.get(card.id.slice("card-".length)));
  });
}
