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
// What is printed is printed whole.
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});
