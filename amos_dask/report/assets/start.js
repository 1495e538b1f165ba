// Light and dark, what is wide or narrow, and the first drawing.

const THEMES = { auto: ["Auto", "as the system"], light: ["Light", "light"], dark: ["Dark", "dark"] };

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  byId("theme").textContent = THEMES[name][0];
  byId("theme").setAttribute("aria-label", `Colours: ${THEMES[name][1]}`);
}

function startTheme() {
  const names = Object.keys(THEMES);
  const before = remembered("amos-dask:theme");
  setTheme(names.includes(before) ? before : "auto");
  byId("theme").addEventListener("click", () => {
    const next = names[(names.indexOf(document.documentElement.dataset.theme) + 1) % names.length];
    setTheme(next);
    remember("amos-dask:theme", next);
  });
}

function startLayout() {
  const narrow = matchMedia("(max-width: 760px)");
  const fold = () => { byId("controls").open = !narrow.matches; };
  narrow.addEventListener("change", fold);
  fold();
  // What is scrolled to must not end up under the bar.
  new ResizeObserver(() => {
    document.documentElement.style.setProperty("--topbar", `${byId("topbar").offsetHeight}px`);
  }).observe(byId("topbar"));
  new ResizeObserver(() => {
    document.documentElement.style.setProperty("--savebar", `${byId("savebar").offsetHeight}px`);
  }).observe(byId("savebar"));
  window.addEventListener("beforeprint", () => {
    for (const card of document.querySelectorAll(".card")) card.showPictures?.();
    for (const box of document.querySelectorAll(".plot")) box.draw();
  });
}

startTheme();
startLayout();
startChoices();
startViews();
startViewer();
drawHead();
drawFailed();
startReview();
startSamples();
drawOverlaps();
startDistributions();
startRepairs();
startTimes();
startIssues();
startKeys();
applyFilters();
