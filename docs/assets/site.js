// What scrolls sideways can be reached with the keyboard, and the search and the buttons of each block of code have a name.
addEventListener("load", () => {
  const wide = ".md-typeset__scrollwrap, .highlight-ipynb, .jp-RenderedHTML > pre, .jp-RenderedHTMLCommon, .jp-RenderedText > pre";
  for (const one of document.querySelectorAll(wide)) one.tabIndex = 0;
  document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
  const named = () =>
    document.querySelectorAll(".md-code__nav").forEach((nav, at) => nav.setAttribute("aria-label", `Code ${at + 1}`));
  new MutationObserver(named).observe(document.body, { childList: true, subtree: true });
  named();
});
