// Small helpers to build the page.

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element with attributes (functions become event listeners) and children (elements or texts). */
export function html(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** The same for SVG. */
export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/**
 * A field to choose, drop or paste a file.
 *
 * @param {{label: string, hint: string, accept: string, onFile: (file: File) => void}} options
 */
export function filePicker({ label, hint, accept, onFile }) {
  const give = (files) => files?.length && onFile(files[0]);
  const input = html("input", {
    type: "file",
    accept,
    change: () => {
      give(input.files);
      input.value = ""; // so that the same file can be chosen again
    },
  });
  const field = html("label", { class: "drop" }, input, html("strong", {}, label), html("span", {}, hint));
  let depth = 0;
  const light = (change) => {
    depth = Math.max(0, depth + change);
    field.classList.toggle("over", depth > 0);
  };
  // A file dropped beside the field would otherwise replace the page.
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("dragenter", () => light(1));
  document.addEventListener("dragleave", () => light(-1));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    light(-depth);
    give(event.dataTransfer.files);
  });
  document.addEventListener("paste", (event) => give(event.clipboardData.files));
  return field;
}
