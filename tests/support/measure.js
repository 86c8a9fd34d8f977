// What a page of a width looks like, measured in a frame of that width.
const found = {}, view = frame => frame.contentDocument;
for (const frame of document.querySelectorAll("iframe")) {
  const page = view(frame), clipped = [];
  for (const picture of page.querySelectorAll("svg")) {
    const box = picture.getBoundingClientRect();
    for (const text of picture.querySelectorAll("text")) {
      const own = text.getBoundingClientRect();
      if (own.left < box.left - 1 || own.right > box.right + 1 || own.bottom > box.bottom + 1)
        clipped.push(text.textContent);
    }
  }
  const style = frame.contentWindow.getComputedStyle(page.body);
  const size = parseFloat(frame.contentWindow.getComputedStyle(page.querySelector("p")).fontSize);
  found[frame.width] = {
    content: page.documentElement.scrollWidth, clipped, size, paper: style.backgroundColor,
    ink: style.color, pictures: page.querySelectorAll("svg").length,
    columns: new Set([...page.querySelectorAll("section")].map(
      each => Math.round(each.getBoundingClientRect().left))).size,
  };
}
document.body.innerHTML = "<pre>" + JSON.stringify(found) + "</pre>";
