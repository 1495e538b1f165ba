// Where a sample's files are, and the command that opens them. The page says nothing of machines: where
// ROOT_DIR is, it knows from its own address.

const PAGE = "/descriptor/report.html";

function rootHere() {
  if (location.protocol !== "file:" || !location.pathname.endsWith(PAGE)) return "";
  try {
    const path = decodeURIComponent(location.pathname.slice(0, -PAGE.length));
    return /^\/[A-Za-z]:/.test(path) ? path.slice(1) : path;  // a drive of Windows
  } catch { return ""; }
}

const ROOT = rootHere();
const pathOf = (sample, name = "") => [ROOT, sample.folder, name].filter(Boolean).join("/");

// One word for a shell. What could not be pasted as it is gives no command.
function quotedWord(text) {
  if (/^[\w@%+=:,./-]+$/.test(text)) return text;
  if (/^[A-Za-z]:/.test(ROOT)) return `"${text}"`;
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function snapCommand(sample) {
  const scan = pathOf(sample, sample.volume);
  const mask = sample.mask ? pathOf(sample, sample.mask) : "";
  if (/\p{Cc}/u.test(scan + mask)) return "";
  return ["itksnap", "-g", quotedWord(scan), ...(mask ? ["-s", quotedWord(mask)] : [])].join(" ");
}

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {  // not allowed here: the old way
    const field = el("textarea", { class: "hidden", readonly: true, "aria-hidden": "true" }, text);
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  }
}

function copyButton(sample, name = "Copy") {
  const command = snapCommand(sample);
  if (!command) return NONE;
  return el("button", { type: "button", class: "small copy", title: command, "aria-label": `Copy the ITK-SNAP command of ${sample.id}`,
    onclick: async ({ currentTarget: button }) => {
      const done = await copyText(command);
      button.textContent = done ? "Copied" : "Not copied";
      button.focus({ preventScroll: true });
      setTimeout(() => { button.textContent = name; }, 1500);
    } }, name);
}

function makeFiles(sample) {
  const command = snapCommand(sample);
  return el("details", { class: "files" },
    el("summary", {}, "Files and ITK-SNAP"),
    el("dl", {},
      el("dt", {}, "Folder"), el("dd", {}, el("code", {}, pathOf(sample))),
      el("dt", {}, "Scan"), el("dd", {}, el("code", {}, sample.volume)),
      sample.mask ? [el("dt", {}, "Mask"), el("dd", {}, el("code", {}, sample.mask))] : null),
    command ? [el("code", { class: "command" }, command), copyButton(sample, "Copy command"),
      ROOT ? null : el("p", { class: "muted" }, "To be run in ROOT_DIR.")] : null);
}
