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
// The words of a question that carry it: of "how to save a model" these are "save model".
const isWord = word => !stopwords.has(word.toLowerCase());
const carrying = query => query.split(/\s+/).filter(isWord).join(" ") || query;
// Each page is one hit, its best; the results are sorted, the best last. Pages for builders have a mark.
const found = Search._performSearch;
Search._performSearch = (query, ...terms) => {
  const results = [query, carrying(query)].flatMap(words => found(words, ...terms)).sort(_orderResultsByScoreThenName);
  const best = new Map(results.map(result => [result[0], result]));
  const marked = ([page, title, ...rest]) => [page, isForBuilders(page) ? `${title} (for builders)` : title, ...rest];
  return [...best.values()].sort(_orderResultsByScoreThenName).map(marked);
};
