// Elements, made of text only: nothing of a report is ever taken for markup.

type Child = Node | string;

export function el<K extends keyof HTMLElementTagNameMap>(
  name: K,
  attributes: Record<string, string> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** A part of the page with a heading. */
export function section(id: string, title: string, about: string): HTMLElement {
  const made = el("section", { id, "aria-labelledby": `${id}-title` }, el("h2", { id: `${id}-title` }, title));
  if (about) made.append(el("p", { class: "about" }, about));
  document.querySelector("main")?.append(made);
  return made;
}

export function select(name: string, options: string[], change: (index: number) => void, first = 0): HTMLElement {
  const box = el("select", { "aria-label": name });
  options.forEach((text, index) => box.append(el("option", { value: String(index) }, text)));
  box.value = String(first);
  box.addEventListener("change", () => change(Number(box.value)));
  return el("label", { class: "choice" }, `${name} `, box);
}

export function button(text: string, title: string, press: () => void): HTMLButtonElement {
  const made = el("button", { type: "button", title, "aria-label": title }, text);
  made.addEventListener("click", press);
  return made;
}
