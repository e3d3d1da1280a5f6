// Elements of the page, and how numbers and times are written in them.

export const MOST_BARS = 10; // labels that are shown at first

export const $ = (id) => document.getElementById(id);
export const percent = (score) => `${(100 * score).toFixed(1)} %`;
export const points = (change) => `${change < 0 ? "−" : "+"}${Math.abs(100 * change).toFixed(1)}`;
export const time = (at) => `${at.slice(0, 16).replace("T", " ")} UTC`;
export const bytes = (text) => new TextEncoder().encode(text).length;

export function element(tag, content, properties = {}) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...[content].flat());
  return made;
}

// Hidden from screen readers: the number stands beside it.
export const bar = (value) => element("progress", [], { max: 1, value, ariaHidden: "true" });
export const row = (...cells) => element("tr", cells);
export const cell = (content, className = "") => element("td", content, { className });
export const heading = (content) => element("th", element("bdi", content), { scope: "row" });
