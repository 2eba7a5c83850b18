// Elements made in one line; text goes in as text only.

export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// A button that copies what `text` gives at that moment, and says that it did.
export function copyButton(text, label = "Copy") {
  const button = make("button", { type: "button", className: "quiet copy", textContent: label });
  button.onclick = async () => {
    const done = await copy(text());
    button.textContent = done ? "Copied" : "Not allowed";
    setTimeout(() => { button.textContent = label; }, 1500);
  };
  return button;
}

// Without TLS, and not on this machine, browsers have no clipboard for pages; the old way still works.
async function copy(text) {
  if (navigator.clipboard) {
    try { await navigator.clipboard.writeText(text); return true; } catch { /* refused: the old way */ }
  }
  const area = make("textarea", { value: text, className: "hidden-label" });
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}

export function download(name, text) {
  const link = make("a", { href: URL.createObjectURL(new Blob([text])), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
