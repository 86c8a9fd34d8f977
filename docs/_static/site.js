// The theme's buttons that unfold the list of pages have no text: name them for people who do not see the arrow.
addEventListener("DOMContentLoaded", () => {
  for (const button of document.querySelectorAll("summary:has(.toctree-toggle)")) button.setAttribute("aria-label", "Pages below");
});
