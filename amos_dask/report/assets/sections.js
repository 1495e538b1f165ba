// The sections that are tables: what failed, samples, geometry, times, issues; and the head.

const SEVERITIES = ["error", "warning", "info"];

function tile(value, name, more = "", kind = "") {
  return el("div", { class: `tile ${kind}` }, el("b", {}, value), el("span", {}, name),
    more ? el("small", {}, more) : null);
}

// What the page was made by and of: nothing that another run of the same would tell otherwise.
function drawFoot() {
  const { denoising, archive, counts } = content;
  const facts = [
    ["Program", content.program],
    ["Dataset", content.dataset],
    ["Archive", archive.length ? archive.join(", ") : "not known"],
    ["Denoising", !denoises ? "none, by the dataset's definition" : denoising === null ? "parameters not known"
      : `kernel_size ${denoising.kernel_size.join(" ")} · filter_halfedge ${denoising.filter_halfedge} · region_area_thresh ${denoising.region_area_thresh} mm²`],
    ["Small regions", counts.regions.length
      ? `region_volume_thresh ${counts.regions.map((one) => one.threshold_mm3).join(" ")} mm³` : "not listed"],
    ["Exclusions", content.exclusions.length ? plural(content.exclusions.length, "line") : "none"],
  ];
  byId("foot").replaceChildren(
    el("dl", { class: "made" }, facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))),
    el("p", {}, "Everything in this page is in the file itself; it asks nothing of any network."));
}

function drawHead() {
  const { counts } = content;
  byId("brand").textContent = content.root;
  byId("kicker").textContent = `${content.dataset} · ${content.program}`;
  const { licence, cite, url } = content.about;
  byId("about").append(...[licence && `Licence: ${licence}`, cite && `Cite: ${cite}`, /^https?:/.test(url) ? el("a", { href: url, rel: "noreferrer" }, url) : url]
    .filter(known).flatMap((one, index) => (index ? [" · ", one] : [one])));
  byId("heading").textContent = `Report of ${content.root}`;
  drawFoot();
  const modalities = Object.entries(counts.by_modality).map(([name, n]) => `${count(n)} ${modalityName(name)}`).join(" · ");
  byId("tiles").replaceChildren(
    tile(count(counts.samples), "samples", modalities),
    tile(count(counts.with_mask), "with masks"),
    tile(count(counts.errors), counts.errors === 1 ? "error" : "errors", "", counts.errors ? "bad" : ""),
    tile(count(counts.warnings), counts.warnings === 1 ? "warning" : "warnings", "", counts.warnings ? "wary" : ""),
    tile(count(counts.infos), counts.infos === 1 ? "info" : "infos"),
    ...(denoises ? [
      tile(count(counts.changed_samples), "samples changed", nUnknownChanges ? `${count(nUnknownChanges)} not known` : ""),
      tile(count(counts.changed_voxels), "voxels changed")] : []),
    ...counts.regions.map((one) =>
      tile(denoises ? [count(one.before), el("i", {}, "→"), count(one.after)] : count(one.before), `regions below ${decimal(one.threshold_mm3)} mm³`)));
}

const severity = (name) => el("span", { class: `severity ${name}` }, name);
const issueColumns = [
  { title: "Severity", value: (one) => SEVERITIES.indexOf(one.severity), cell: (one) => severity(one.severity) },
  { title: "Code", value: (one) => one.code, cell: (one) => el("code", {}, one.code) },
  sampleColumn((one) => one.sample),
  textColumn("Message", (one) => one.message, { class: "long" }),
  textColumn("File", (one) => one.file, { class: "path" }),
  textColumn("What was done", (one) => one.action, { class: "long" }),
];

function drawFailed() {
  const failed = content.issues.filter((one) => one.severity === "error");
  if (failed.length === 0) {
    byId("failed-body").replaceChildren(el("p", { class: "calm good" }, "No sample failed."));
    return;
  }
  const [, code, sample, ...rest] = issueColumns;
  const table = makeTable({ caption: "Failed samples", columns: [sample, code, ...rest], sortedBy: 0, empty: "", stacked: true });
  table.setRows(failed);
  const samples = new Set(failed.map((one) => one.sample).filter(Boolean)).size;
  byId("failed-body").replaceChildren(
    el("p", { class: "lead" }, `${plural(failed.length, "error")} in ${plural(samples, "sample")}: something promised is missing.`),
    table.node);
}

// Alike in their decimals, except where those would show nothing.
const norm = (value) => (value > 0 && value < 5e-4 ? value.toExponential(1) : fixed(value, 3));

function startSamples() {
  const total = (regions) => sum(regions.map((one) => one[1]));
  const spacing = (sample) => (sample.spacing_mm ? sample.spacing_mm.map((mm) => fixed(mm, 3)).join(" × ") : NONE);
  const issuesOf = new Map();
  for (const { sample } of content.issues) issuesOf.set(sample, (issuesOf.get(sample) ?? 0) + 1);
  const table = makeTable({
    caption: "Samples", sortedBy: 0, empty: "No sample in this selection.", firstRows: 1000,
    columns: [
      sampleColumn((one) => one.id),
      textColumn("Subset", (one) => one.subset),
      { title: "Modality", value: (one) => one.modality, cell: (one) => modalityName(one.modality) },
      textColumn("Scanner", (one) => one.scanner),
      textColumn("Sex", (one) => one.sex),
      textColumn("Age", (one) => one.age),
      ...(denoises ? [
        numberColumn("Changed voxels", (one) => one.changed_voxels),
        numberColumn("Changed mm³", (one) => one.changed_mm3, (value) => fixed(value, 1)),
        { title: "Regions", number: true, value: (one) => total(one.regions_before) - total(one.regions_after),
          cell: (one) => (one.labels ? `${count(total(one.regions_before))} → ${count(total(one.regions_after))}` : NONE) },
      ] : [numberColumn("Regions", (one) => (one.labels ? total(one.regions_before) : null))]),
      numberColumn("Labels", (one) => (one.labels ? one.labels.length : null)),
      { title: "Size", number: true, value: (one) => one.shape?.[2], cell: (one) => (one.shape ? one.shape.join(" × ") : NONE) },
      { title: "Spacing mm", number: true, value: (one) => one.spacing_mm?.[2], cell: spacing },
      textColumn("Axes", (one) => one.orientation),
      numberColumn("Repair norm", (one) => one.repair_norm, norm),
      numberColumn("Issues", (one) => issuesOf.get(one.id) ?? 0),
      textColumn("Site", (one) => one.site),
      textColumn("Manufacturer", (one) => one.manufacturer),
      textColumn("Folder", (one) => one.folder, { class: "path line" }),
      { title: "ITK-SNAP", cell: (one) => copyButton(one) },
    ],
  });
  byId("samples-body").replaceChildren(content.samples.length
    ? el("p", { class: "lead" }, `Size sorts by number of slices, spacing by distance of slices${denoises ? "; a linked sample has a card above" : ""}.`)
    : "", table.node);
  onFilter.push(() => table.setRows(chosenSamples));
}

function drawOverlaps() {
  if (content.overlaps.length === 0) return;
  const table = makeTable({
    caption: "Overlaps of labels", sortedBy: 2, descending: true, empty: "",
    columns: [
      { title: "Label", value: (one) => labelName(one.label), cell: (one) => chip(one.label) },
      { title: "Other label", value: (one) => labelName(one.other), cell: (one) => chip(one.other) },
      numberColumn("Voxels", (one) => one.n_voxels),
      numberColumn("mm³", (one) => one.mm3, (value) => fixed(value, 1)),
      numberColumn("Samples", (one) => one.n_samples),
    ],
  });
  table.setRows(content.overlaps);
  byId("overlaps").append(el("h3", {}, "Overlaps of labels"),
    el("p", { class: "lead" }, "Voxels that the archive's masks of two labels share, of all samples together; the pairs that share most. One label got each voxel; overlaps.xlsx has all pairs of each sample."),
    table.node);
}

function meter(value, most) {
  const bar = el("span", { class: "meter", "aria-hidden": "true" }, el("span", {}));
  bar.firstChild.style.width = `${most > 0 ? Math.max(0.5, (100 * value) / most) : 0}%`;
  return bar;
}

function startRepairs() {
  const repaired = content.samples.filter((one) => known(one.repair_norm));
  if (repaired.length === 0) {
    byId("repairs-body").replaceChildren(calm("No mask's affine was repaired."));
    return;
  }
  const most = Math.max(...repaired.map((one) => one.repair_norm));
  const table = makeTable({
    caption: "Repaired affines", sortedBy: 1, descending: true, empty: "No repaired mask in this selection.",
    columns: [
      sampleColumn((one) => one.id),
      numberColumn("Norm of the difference", (one) => one.repair_norm, norm),
      { title: "", class: "bar", cell: (one) => meter(one.repair_norm, most) },
      textColumn("Subset", (one) => one.subset),
      { title: "Modality", value: (one) => one.modality, cell: (one) => modalityName(one.modality) },
      textColumn("Scanner", (one) => one.scanner),
      textColumn("Axes", (one) => one.orientation),
    ],
  });
  byId("repairs-body").replaceChildren(
    el("p", { class: "lead" }, `${plural(repaired.length, "mask")} took the affine of the scan; the norm is Frobenius', of the difference of the two 4 × 4 matrices.`),
    table.node);
  onFilter.push(() => table.setRows(repaired.filter((one) => chosenIds.has(one.id))));
}

function startTimes() {
  const steps = times.steps ?? [];
  const samples = times.samples ?? [];
  if (steps.length + samples.length === 0) {
    byId("times-body").replaceChildren(calm("No times were recorded."));
    return;
  }
  const seconds = (value) => fixed(value, 2);
  const milliseconds = (value) => fixed(value, 3);
  const barOf = (name, value, rows, format) => {
    const most = Math.max(0, ...rows.map(value));
    return [numberColumn(name, value, format), { title: "", class: "bar", cell: (row) => meter(value(row), most) }];
  };
  const stepTable = makeTable({
    caption: "Times of steps", sortedBy: 1, descending: true, empty: "No steps were timed.",
    columns: [
      textColumn("Step", (one) => one.name),
      ...barOf("Total s", (one) => one.total_s, steps, seconds),
      ...barOf("Median s", (one) => one.median_s, steps, milliseconds),
      numberColumn("Maximum s", (one) => one.max_s, milliseconds),
    ],
  });
  const sampleTable = makeTable({
    caption: "Slowest samples", sortedBy: 1, descending: true, empty: "No sample in this selection was timed.", firstRows: 20,
    columns: [sampleColumn((one) => one[0]), ...barOf("Time s", (one) => one[1], samples, seconds)],
  });
  stepTable.setRows(steps);
  byId("times-body").replaceChildren(el("div", { class: "columns" },
    el("div", {}, el("h3", {}, "Steps, all samples"), stepTable.node),
    el("div", {}, el("h3", {}, "Slowest samples"), sampleTable.node)));
  onFilter.push(() => sampleTable.setRows(samples.filter(([id]) => isChosenId(id))));
}

function startIssues() {
  if (content.issues.length === 0) {
    byId("issues-body").replaceChildren(calm("Nothing was found, repaired or failed."));
    return;
  }
  const wanted = new Set(SEVERITIES);
  let code = "";
  const table = makeTable({ caption: "Issues", columns: issueColumns, sortedBy: 0, empty: "No issue in this selection.", stacked: true });
  const shown = el("span", { class: "shown", role: "status" });

  // The dataset's own issues belong to every selection of severities, and to no filter of samples.
  function draw() {
    const rows = content.issues.filter((one) => wanted.has(one.severity) && (code === "" || one.code === code)
      && (one.sample === "" ? !filtering() : isChosenId(one.sample)));
    shown.textContent = `${count(rows.length)} of ${plural(content.issues.length, "issue")}`;
    table.setRows(rows);
  }

  const switches = SEVERITIES.map((name) => {
    const n = content.issues.filter((one) => one.severity === name).length;
    return el("button", { type: "button", class: `small severity-switch ${name}`, "aria-pressed": "true", "data-severity": name,
      onclick: (event) => {
        flip(wanted, name);
        event.currentTarget.setAttribute("aria-pressed", String(wanted.has(name)));
        draw();
      } }, severity(name), count(n));
  });
  const codes = [...new Set(content.issues.map((one) => one.code))].sort();
  const select = el("select", { id: "issue-code", onchange: (event) => { code = event.target.value; draw(); } },
    el("option", { value: "" }, "all"), codes.map((one) => el("option", { value: one }, one)));
  byId("issues-body").replaceChildren(
    el("div", { class: "row local", role: "group", "aria-label": "Filters of issues" }, switches, el("label", {}, "Code ", select), shown),
    table.node);
  onFilter.push(draw);
}
