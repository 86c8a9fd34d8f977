// The theme's buttons that unfold the list of pages have no text: name them for people who do not see the arrow.
addEventListener("DOMContentLoaded", () => {
  for (const button of document.querySelectorAll("summary:has(.toctree-toggle)")) button.setAttribute("aria-label", "Pages below");
});

// A button copies each program: of a dialogue with Python what was typed, without the prompts and the answers.
// An empty line ends each block of lines, as Python's prompt expects it.
function typed(text) {
  const lines = text.split("\n");
  if (!lines.some(line => line.startsWith(">>>"))) return text;
  const shown = lines.filter(line => /^(>>>|\.\.\.)/.test(line));
  const ends = k => shown[k].startsWith("...") && !shown[k + 1]?.startsWith("...");
  return shown.map((line, k) => line.slice(4) + "\n" + (ends(k) ? "\n" : "")).join("");
}
addEventListener("DOMContentLoaded", () => {
  for (const program of document.querySelectorAll("div:not(.highlight-text) > div.highlight")) {
    const button = Object.assign(document.createElement("button"), { type: "button", className: "copy", textContent: "Copy" });
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(typed(program.querySelector("pre").textContent));
      button.textContent = "Copied";
    });
    program.append(button);
  }
});

// On a phone, wide pictures scroll in a box, also by keys.
addEventListener("DOMContentLoaded", () => {
  for (const picture of document.querySelectorAll("img.wide")) {
    const box = Object.assign(document.createElement("div"), { className: "scrolls", tabIndex: 0 });
    picture.replaceWith(box);
    box.append(picture);
  }
});
