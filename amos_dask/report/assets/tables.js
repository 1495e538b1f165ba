// Tables that sort by a click or Enter on a header, in a scrolling box of their own. Those of text are
// stacked where a window is narrow: a row is a block, a cell a line with its title.

const FIRST_ROWS = 250;

// A column: title, cell(row) -> text or element, value(row) to sort by, and whether it is a number.
function makeTable({ caption, columns, sortedBy = null, descending = false, empty, firstRows = FIRST_ROWS, stacked = false }) {
  let rows = [];
  let all = false;
  let order = { column: sortedBy, descending };
  const body = el("tbody");
  const heads = columns.map((column, index) =>
    el("th", { scope: "col", class: column.number ? "number" : null },
      column.value
        ? el("button", { type: "button", onclick: () => sortBy(index) }, column.title)
        : column.title));
  const table = el("table", {}, el("caption", { class: "hidden" }, caption),
    el("thead", {}, el("tr", {}, heads)), body);
  const box = el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, table);
  const foot = el("div", { class: "more" });
  const nothing = calm(empty);
  const node = el("div", { class: stacked ? "table stacked" : "table" }, box, foot, nothing);

  function sortBy(index) {
    const again = order.column === index;
    // What is long or large is looked for first, names from their beginning.
    order = { column: index, descending: again ? !order.descending : Boolean(columns[index].number) };
    draw();
  }

  function compare(a, b) {
    const { value } = columns[order.column];
    const [x, y] = [value(a), value(b)];
    if (!known(x) || !known(y)) return Number(!known(x)) - Number(!known(y));
    const result = typeof x === "number" ? x - y : collator.compare(x, y);
    return order.descending ? -result : result;
  }

  function draw() {
    heads.forEach((head, index) => {
      if (!columns[index].value) return;
      const here = order.column === index;
      head.setAttribute("aria-sort", here ? (order.descending ? "descending" : "ascending") : "none");
    });
    const sorted = order.column === null ? rows : [...rows].sort(compare);
    const drawn = all ? sorted : sorted.slice(0, firstRows);
    body.replaceChildren(...drawn.map((row) =>
      el("tr", {}, columns.map((column, index) =>
        el(index === 0 ? "th" : "td",
          { scope: index === 0 ? "row" : null, "data-title": stacked ? column.title : null, class: [column.number ? "number" : "", column.class ?? ""].join(" ").trim() || null },
          column.cell(row))))));
    box.hidden = rows.length === 0;
    nothing.hidden = rows.length > 0;
    const rest = sorted.length - drawn.length;
    foot.replaceChildren(...(rest > 0
      ? [el("button", { type: "button", onclick: () => { all = true; draw(); } },
          `Show all ${count(sorted.length)} rows`)]
      : []));
  }

  return { node, setRows(next) { rows = next; draw(); } };
}

const textColumn = (title, value, more = {}) => ({ title, value, cell: (row) => value(row) || NONE, ...more });
const numberColumn = (title, value, format = count) =>
  ({ title, value, number: true, cell: (row) => format(value(row)) });
const sampleColumn = (value) => ({ title: "Sample", value, cell: (row) => sampleLink(value(row)) });
