// The search's scores: Sphinx's own, but guides come before the names of the reference, and pages for builders of the library last.
const BUILDERS = ["adr", "development/decisions", "adding", "architecture", "kernels"]; // pages, and folders of pages
const isForBuilders = page => BUILDERS.some(name => page === name || page.startsWith(`${name}/`));
var Scorer = {
  score: ([page, , , , score]) => score - (isForBuilders(page) ? 200 : page.startsWith("reference/names/") ? 8 : 0),
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
// Each page is one hit, its best; the results are sorted, the best last. Pages for builders have a mark.
const found = Search._performSearch;
Search._performSearch = (...query) => {
  const best = new Map(found(...query).map(result => [result[0], result]));
  const marked = ([page, title, ...rest]) => [page, isForBuilders(page) ? `${title} (for builders)` : title, ...rest];
  return [...best.values()].sort(_orderResultsByScoreThenName).map(marked);
};
