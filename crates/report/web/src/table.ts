// The table behind a chart: a page of rows at a time, so that the number of elements is bounded.

import { button, el } from "./dom";

const PAGE = 20;

export interface Column<T> {
  head: string;
  /** Words are aligned left, numbers right. */
  words?: boolean;
  cell: (row: T) => string;
  /** What the row is sorted by; without it the column cannot be. */
  value?: (row: T) => number;
}

export interface Table<T> {
  element: HTMLDetailsElement;
  show(rows: T[]): void;
}

/** A table that opens on demand. `press` is told the row that was clicked. */
export function table<T>(
  title: string,
  columns: Column<T>[],
  open = false,
  press?: (row: T) => void,
): Table<T> {
  let rows: T[] = [];
  let sorted: T[] = [];
  let first = 0;
  let by: { column: number; down: boolean } | undefined;
  const summary = el("summary", {}, title);
  const head = el("tr");
  const body = el("tbody");
  const place = el("span", { class: "place" });
  const turn = (pages: number) => {
    first = Math.max(0, Math.min(first + pages * PAGE, Math.floor((rows.length - 1) / PAGE) * PAGE));
    draw();
  };
  const pager = el(
    "div",
    { class: "pager" },
    button("‹", "previous rows", () => turn(-1)),
    place,
    button("›", "next rows", () => turn(1)),
  );
  const grid = el("table", {}, el("thead", {}, head), body);
  const element = el("details", { class: "table" }, summary, el("div", { class: "scroll" }, grid), pager);
  element.open = open;

  columns.forEach((column, index) => {
    const cell = el("th", { scope: "col", class: column.words ? "words" : "" });
    if (column.value) {
      cell.append(
        button(column.head, `sort by ${column.head}`, () => {
          by = { column: index, down: by?.column === index ? !by.down : true };
          sort();
        }),
      );
    } else {
      cell.append(column.head);
    }
    head.append(cell);
  });

  function sort(): void {
    sorted = rows;
    const value = by && columns[by.column]?.value;
    if (by && value) {
      const sign = by.down ? -1 : 1;
      sorted = [...rows].sort((a, b) => sign * (value(a) - value(b)));
    }
    [...head.children].forEach((cell, index) => {
      if (by?.column === index) cell.setAttribute("aria-sort", by.down ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    });
    first = 0;
    draw();
  }

  function draw(): void {
    body.replaceChildren();
    if (!element.open) return;
    for (const row of sorted.slice(first, first + PAGE)) {
      const line = el("tr");
      columns.forEach((column, index) => {
        const text = column.cell(row);
        const cell = el("td", { class: column.words ? "words" : "" });
        if (index === 0 && press) {
          const link = button(text, text, () => press(row));
          link.className = "link";
          cell.append(link);
        } else {
          cell.append(text);
        }
        line.append(cell);
      });
      body.append(line);
    }
    const last = Math.min(first + PAGE, rows.length);
    place.textContent = rows.length ? `${first + 1} to ${last} of ${rows.length.toLocaleString("en")}` : "no rows";
    pager.hidden = rows.length <= PAGE;
  }

  element.addEventListener("toggle", draw);
  return {
    element,
    show(next: T[]) {
      rows = next;
      sort();
    },
  };
}
