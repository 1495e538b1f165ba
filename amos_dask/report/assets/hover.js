// Names of organs where the pointer is: the labels' colours are read back from the picture.

const pixelsOf = new WeakMap();  // slice -> before and after, as promises of pixels

function readPixels(slice, which) {
  if (!pixelsOf.has(slice)) pixelsOf.set(slice, {});
  const kept = pixelsOf.get(slice);
  kept[which] ??= (async () => {
    const image = el("img", { src: png(slice[which]) });
    await image.decode();
    const [width, height] = [image.naturalWidth, image.naturalHeight];
    const context = el("canvas", { width, height }).getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    return { width, height, data: context.getImageData(0, 0, width, height).data };
  })();
  return kept[which];
}

// Labels of many may share a colour; then all of them are named.
const namesByColour = new Map();
for (const { index, name, colour } of content.labels) {
  if (index !== 0) namesByColour.set(colour, [...(namesByColour.get(colour) ?? []), name]);
}

function nameAt({ width, height, data }, x, y) {
  const column = Math.min(Math.floor(x * width), width - 1);
  const row = Math.min(Math.floor(y * height), height - 1);
  const [red, green, blue, alpha] = data.subarray(4 * (row * width + column), 4 * (row * width + column) + 4);
  if (alpha === 0) return "";
  const colour = `#${[red, green, blue].map((one) => one.toString(16).padStart(2, "0")).join("")}`;
  return (namesByColour.get(colour) ?? ["a label of no name"]).join(" or ");
}

function nameOnHover(stack, slice) {
  let last = null;
  stack.addEventListener("pointermove", async (event) => {
    const here = last = event;
    const at = stack.getBoundingClientRect();
    const [x, y] = [(event.clientX - at.left) / at.width, (event.clientY - at.top) / at.height];
    const [before, after] = await Promise.all([readPixels(slice, "before"), readPixels(slice, "after")]);
    if (last !== here) return;
    const [was, is] = [nameAt(before, x, y), nameAt(after, x, y)];
    const text = was === is ? is : `${was || labelName(0)} → ${is || labelName(0)}`;
    if (text) showTipAt(event.clientX, event.clientY, text); else hideTip();
  });
  stack.addEventListener("pointerleave", () => { last = null; hideTip(); });
}
