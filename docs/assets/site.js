// What scrolls sideways can be reached with the keyboard, and the search has a name.
addEventListener("load", () => {
  const wide = ".md-typeset__scrollwrap, .highlight-ipynb, .jp-RenderedHTML > pre, .jp-RenderedHTMLCommon, .jp-RenderedText > pre";
  for (const one of document.querySelectorAll(wide)) one.tabIndex = 0;
  document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
});
