// The search's scores: Sphinx's own, but decisions and the inside of the library come last.
var Scorer = {
  score: ([page, , , , score]) => (/^(adr|development)\/|^(adding|architecture|kernels)$/.test(page) ? score - 200 : score),
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
