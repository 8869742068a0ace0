"use strict";
// A button in each heading sorts the rows by its column: numbers by value, what is no number last, text by the alphabet.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  if (body.rows.length < 2) continue;
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const descending = head.getAttribute("aria-sort") === "ascending";
      const rows = [...body.rows];
      const numeric = rows.some((row) => row.cells[column].dataset.key !== undefined);
      rows.sort((a, b) => {
        const [one, other] = [a.cells[column], b.cells[column]];
        if (!numeric) {
          return (descending ? -1 : 1) * one.textContent.localeCompare(other.textContent, "en", { numeric: true });
        }
        const [x, y] = [one.dataset.key, other.dataset.key];
        if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
        return (descending ? -1 : 1) * (Number(x) - Number(y));
      });
      body.append(...rows);
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    });
  });
}
// A link into a folded section unfolds it, in browsers that do not do so themselves, and one button unfolds them all.
const reveal = () => {
  const target = location.hash.length > 1 ? document.getElementById(decodeURIComponent(location.hash.slice(1))) : null;
  for (let box = target?.closest("details"); box; box = box.parentElement.closest("details")) box.open = true;
  target?.scrollIntoView();
};
addEventListener("hashchange", reveal);
reveal();
const button = document.createElement("button");
button.type = "button";
button.textContent = "Unfold all";
button.addEventListener("click", () => {
  const folds = [...document.querySelectorAll(".fold > details, details.more")];
  const open = !folds.every((one) => one.open);
  for (const one of folds) one.open = open;
  button.textContent = open ? "Fold all" : "Unfold all";
});
document.querySelector("nav").append(button);
