// Distributions: geometry, scanners, organ volumes and intensities, of the samples that are chosen.

const ROW = 34;
// Room for the longest name of a label, within reason.
const GUTTER = Math.min(300, Math.max(128, 8 + 6.2 * Math.max(0, ...content.labels.map((one) => one.name.length))));

const valuesOf = (value) => chosenSamples
  .map((sample) => ({ value: value(sample), modality: sample.modality }))
  .filter((one) => known(one.value));

function countsOf(name) {
  const rows = new Map();
  for (const sample of chosenSamples) {
    const row = rows.get(sample[name]) ?? { name: sample[name] || NONE, ct: 0, mri: 0 };
    row[sample.modality === "mri" ? "mri" : "ct"] += 1;
    rows.set(sample[name], row);
  }
  return [...rows.values()].sort((a, b) => b.ct + b.mri - a.ct - a.mri || collator.compare(a.name, b.name));
}

const chosenLabels = () => [...labels.keys()].filter((label) => label !== 0 && (filters.organ === "" || label === Number(filters.organ)));
const lanes = () => (filters.modality ? [filters.modality] : Object.keys(MODALITIES));

// Organ names on the left of a row each; on narrow screens above it.
function organRows(width, organs, top, draw) {
  const gutter = width < 520 ? 0 : GUTTER;
  const rowHeight = gutter ? ROW : ROW + 16;
  const rows = organs.map((organ, index) => {
    const y = top + index * rowHeight;
    return svg("g", {},
      index % 2 ? null : svg("rect", { class: "stripe", x: 0, width, y, height: rowHeight }),
      svg("rect", { class: "swatch", x: gutter ? 2 : 0, y: y + (gutter ? ROW / 2 - 5 : 5), width: 10, height: 10, rx: 2, fill: labelColour(organ.label) ?? "none" }),
      svg("text", { class: "name", x: gutter ? 18 : 16, y: y + (gutter ? ROW / 2 + 4 : 14) }, labelName(organ.label)),
      draw(organ, y + (gutter ? 0 : 16)));
  });
  return { rows, bottom: top + organs.length * rowHeight, left: gutter || 8 };
}

// Points scattered within their lane, the same way each time.
const scatter = (index) => ((index * 0.618034) % 1) - 0.5;

function volumesChart(width) {
  const points = new Map();
  for (const sample of chosenSamples) {
    for (const [label, volume] of Object.entries(sample.volumes_cm3 ?? {})) {
      if (!(volume > 0)) continue;
      const key = `${label} ${sample.modality}`;
      if (!points.has(key)) points.set(key, []);
      points.get(key).push({ id: sample.id, volume });
    }
  }
  const organs = chosenLabels().filter((label) => lanes().some((modality) => points.has(`${label} ${modality}`))).map((label) => ({ label }));
  if (organs.length === 0) return nothingToDraw();
  const all = [...points.entries()].filter(([key]) => organs.some((one) => one.label === parseInt(key, 10))).flatMap(([, values]) => values.map((one) => one.volume));
  const [low, high] = [all.reduce((a, b) => Math.min(a, b)) / 1.15, all.reduce((a, b) => Math.max(a, b)) * 1.15];
  const far = new Map(content.outliers.map((one) => [`${one.sample} ${one.label}`, one]));
  const x = logarithmic(low, high, width < 520 ? 12 : GUTTER + 8, width - 14);
  const marks = [];

  const { rows, bottom, left } = organRows(width, organs, 4, ({ label }, top) => {
    const used = lanes().filter((modality) => points.has(`${label} ${modality}`));
    const lane = (ROW - 6) / Math.max(used.length, 1);
    return used.map((modality, index) => {
      const kind = modality === "mri" ? "mri" : "ct";
      const values = points.get(`${label} ${modality}`);
      const sorted = values.map((one) => one.volume).sort((a, b) => a - b);
      const [q1, median, q3] = [0.25, 0.5, 0.75].map((fraction) => quantile(sorted, fraction));
      const inside = sorted.filter((value) => value >= q1 - 1.5 * (q3 - q1) && value <= q3 + 1.5 * (q3 - q1));
      const middle = top + 3 + lane * (index + 0.5);
      const thick = Math.min(10, lane - 3);
      return svg("g", { class: kind },
        values.map((one, place) => {
          const outlier = far.get(`${one.id} ${label}`);
          const at = { cx: x(one.volume), cy: middle + scatter(place) * lane * 0.8 };
          if (!outlier) return svg("circle", { class: "point", r: 1.5, ...at });
          const text = `${one.id}, ${labelName(label)}: ${decimal(one.volume)} cm³, usual ${decimal(outlier.low_cm3)} to ${decimal(outlier.high_cm3)}`;
          const mark = svg("circle", { class: "outlier", r: 4, ...at, tabindex: "-1", role: "img", "aria-label": text, ...tipOn(text) });
          marks.push(mark);
          return mark;
        }),
        svg("line", { class: "whisker", x1: x(inside[0]), x2: x(inside[inside.length - 1]), y1: middle, y2: middle }),
        svg("rect", { class: "box", x: x(q1), width: Math.max(1, x(q3) - x(q1)), y: middle - thick / 2, height: thick,
          ...tipOn(`${labelName(label)}, ${modalityName(modality)}: ${plural(sorted.length, "sample")}, median ${decimal(median)} cm³, middle half ${decimal(q1)} to ${decimal(q3)}`) }),
        svg("line", { class: "median", x1: x(median), x2: x(median), y1: middle - thick / 2, y2: middle + thick / 2 }));
    });
  });
  // One stop of the Tab key, however many outliers: the arrow keys go from one to the next.
  marks[0]?.setAttribute("tabindex", "0");
  marks.forEach((mark, index) => mark.addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const next = by && marks[index + by];
    if (!next) return;
    event.preventDefault();
    event.stopPropagation();
    mark.setAttribute("tabindex", "-1");
    next.setAttribute("tabindex", "0");
    next.focus();
  }));
  return drawing(width, bottom + 40, `Organ volumes of ${plural(organs.length, "organ")}, ${plural(marks.length, "outlier")}; the table below names them`,
    [bottomAxis(x, x.ticks(), { left, right: width - 14, top: 4, bottom, title: "volume, cm³ (logarithmic)" }), rows], "group");
}

function intensitiesChart(width, modality, channel) {
  const organs = content.intensities
    .filter((one) => one.modality === modality && one.channel === channel && chosenLabels().includes(one.label) && known(one.median));
  if (organs.length === 0) return nothingToDraw();
  const extent = (name, pick) => organs.map((one) => one[name]).reduce((a, b) => pick(a, b));
  const x = linear(Math.min(extent("p0_5", Math.min), 0), extent("p99_5", Math.max), width < 520 ? 12 : GUTTER + 12, width - 20);
  const kind = modality === "mri" ? "mri" : "ct";
  const { rows, bottom, left } = organRows(width, organs, 4, (one, top) => {
    const middle = top + ROW / 2;
    const text = `${labelName(one.label)}: 0.5 to 99.5 % ${decimal(one.p0_5, 4)} to ${decimal(one.p99_5, 4)}, median ${decimal(one.median, 4)}, mean ${decimal(one.mean, 4)} ± ${decimal(one.std, 4)}, minimum ${decimal(one.min, 4)}, maximum ${decimal(one.max, 4)}`;
    const within = (value) => Math.min(Math.max(value, one.p0_5), one.p99_5);
    return svg("g", { class: kind, ...tipOn(text) },
      svg("rect", { class: "catch", x: 0, width, y: top, height: ROW }),
      svg("rect", { class: "range", x: x(one.p0_5), width: Math.max(1, x(one.p99_5) - x(one.p0_5)), y: middle - 5, height: 10, rx: 2 }),
      svg("line", { class: "spread", x1: x(within(one.mean - one.std)), x2: x(within(one.mean + one.std)), y1: middle, y2: middle }),
      svg("line", { class: "median", x1: x(one.median), x2: x(one.median), y1: middle - 8, y2: middle + 8 }),
      svg("circle", { class: "mean", cx: x(one.mean), cy: middle, r: 3.5 }));
  });
  const unit = modality === "ct" ? "HU" : "scanner's own units";
  const text = `Intensities of ${modalityName(modality)}: ${organs.map((one) => `${labelName(one.label)} median ${decimal(one.median)}`).join(", ")}`;
  return drawing(width, bottom + 40, text,
    [bottomAxis(x, x.ticks(Math.max(3, width / 90)), { left, right: width - 20, top: 4, bottom, title: `intensity, ${unit}` }), rows]);
}

function startDistributions() {
  if (content.samples.length === 0) {
    byId("distributions-body").replaceChildren(calm("No samples."));
    return;
  }
  const hasVolumes = content.samples.some((sample) => sample.volumes_cm3);
  const charts = [];
  const chart = (options) => { const one = makeChart(options); charts.push(one); return one.node; };
  const modalities = Object.keys(MODALITIES).filter((modality) => content.intensities.some((one) => one.modality === modality));

  const channels = [...new Set(content.intensities.map((one) => one.channel))]; // one may have no name

  const outliers = makeTable({
    caption: "Outliers of organ volumes", empty: "No outlier in this selection.", firstRows: 30,
    columns: [
      sampleColumn((one) => one.sample),
      { title: "Organ", value: (one) => labelName(one.label), cell: (one) => chip(one.label) },
      { title: "Modality", value: (one) => one.modality, cell: (one) => modalityName(one.modality) },
      numberColumn("Volume cm³", (one) => one.volume_cm3, (value) => fixed(value, 1)),
      { title: "Usual range cm³", number: true, value: (one) => one.low_cm3, cell: (one) => `${fixed(one.low_cm3, 1)} – ${fixed(one.high_cm3, 1)}` },
    ],
  });

  byId("distributions-body").replaceChildren(
    el("p", { class: "legend" }, el("span", { class: "key ct" }), "CT", el("span", { class: "key mri" }), "MR"),
    el("h3", {}, "Geometry"),
    el("div", { class: "charts" },
      chart({ title: "In-plane spacing", draw: (width) => histogram(width, valuesOf((one) => one.spacing_mm?.[0]), { axis: "first axis, mm" }) }),
      chart({ title: "Slice spacing", draw: (width) => histogram(width, valuesOf((one) => one.spacing_mm?.[2]), { axis: "third axis, mm" }) }),
      chart({ title: "Number of slices", draw: (width) => histogram(width, valuesOf((one) => one.shape?.[2]), { axis: "slices", whole: true }) }),
      chart({ title: "Orientation", draw: (width) => bars(width, countsOf("orientation"), { axis: "samples by axis codes" }) }),
      chart({ title: "Scanners", size: "double", draw: (width) => bars(width, countsOf("scanner"), { axis: "samples by scanner" }) })),
    el("h3", {}, "Organ volumes"),
    hasVolumes ? [
      chart({ title: "Volume of each organ", note: "Box: middle half and median; line: to 1.5 box lengths; points: samples. Ringed points are outliers, named on pointing or with Tab and the arrow keys.", draw: volumesChart }),
      el("h4", {}, "Outliers"), el("p", { class: "muted" }, "Outside Tukey's fences of organ and modality, over all samples; farthest first."), outliers.node,
    ] .reduce((box, node) => { box.append(node); return box; }, el("div")) : calm("Volumes were not counted."),
    el("h3", {}, "Intensities"),
    modalities.length ? el("div", { class: "charts two" }, modalities.flatMap((modality) => channels.map((channel) =>
      chart({ title: `${[modalityName(modality), channel].filter(known).join(" ")}, pooled over all samples`, note: "Bar: 0.5–99.5 % of the voxels; tick: median; dot and line: mean ± standard deviation.",
        draw: (width) => intensitiesChart(width, modality, channel) })))) : calm("Intensities were not counted."));
  onFilter.push(() => {
    charts.forEach((one) => one.redraw());
    outliers.setRows(content.outliers.filter((one) => chosenIds.has(one.sample) && (filters.organ === "" || one.label === Number(filters.organ))));
  });
}
