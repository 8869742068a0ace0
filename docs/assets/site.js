// What scrolls sideways can be reached with the keyboard, the search and the buttons of each block of code have a name, and an
// empty corner of a table is not the head of a column.
addEventListener("load", () => {
  const notebooks = ".highlight-ipynb, .jp-RenderedHTML > pre, .jp-RenderedHTMLCommon, .jp-RenderedText > pre";
  const wide = `.md-typeset__scrollwrap, .md-typeset p:has(> img), ${notebooks}`;
  for (const one of document.querySelectorAll(wide)) one.tabIndex = 0;
  for (const corner of document.querySelectorAll("th:empty")) corner.replaceWith(document.createElement("td"));
  document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
  const named = () =>
    document.querySelectorAll(".md-code__nav").forEach((nav, at) => nav.setAttribute("aria-label", `Code ${at + 1}`));
  new MutationObserver(named).observe(document.body, { childList: true, subtree: true });
  named();
});
