"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], original = [...body.rows];
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const was = head.getAttribute("aria-sort");
      const now = was === null ? "descending" : was === "descending" ? "ascending" : null;
      for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
      const value = (row) => row.cells[column].dataset.sort;
      const text = (row) => row.cells[column].textContent;
      const number = head.classList.contains("number"), sign = now === "ascending" ? 1 : -1;
      const order = (a, b) => {
        if (!number) return -sign * text(a).localeCompare(text(b));
        const x = value(a), y = value(b);
        return x === undefined ? (y === undefined ? 0 : 1) : y === undefined ? -1 : sign * (x - y);
      };
      if (now) head.setAttribute("aria-sort", now);
      body.append(...(now ? [...original].sort(order) : original));
    });
  });
}
