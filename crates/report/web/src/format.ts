// Numbers and names for people, as the command line writes them.

import type { Key } from "./types";

export function time(ns: number): string {
  if (ns < 1e3) return `${Math.round(ns)} ns`;
  const [value, unit] = ns < 1e6 ? [ns / 1e3, "µs"] : ns < 1e9 ? [ns / 1e6, "ms"] : [ns / 1e9, "s"];
  return `${value.toFixed(value < 9.995 ? 2 : value < 99.95 ? 1 : 0)} ${unit}`;
}

/** A point in time, so that points `step` apart are told from one another. */
export function moment(ns: number, step = 100): string {
  const [value, unit, size] = step < 1e3 && ns < 1e6 ? [ns / 1e3, "µs", 1e3] : [ns / 1e6, "ms", 1e6];
  const digits = Math.max(0, Math.ceil(-Math.log10(step / size)));
  return `${value.toFixed(Math.min(digits, 6))} ${unit}`;
}

export function count(number: number): string {
  return number.toLocaleString("en");
}

export function times(factor: number): string {
  return `${factor.toFixed(2)}×`;
}

export function percent(part: number, whole: number): string {
  const share = whole > 0 ? (100 * part) / whole : 0;
  return `${share.toFixed(share > 0 && share < 9.95 ? 1 : 0)}%`;
}

export function label(key: Key | undefined): string {
  return key ? (key.name ?? key.text) : "?";
}

/** How a transaction is called: what surrounds the transactions of a block is numbered as well. */
export function txName(tx: number, txs: number): string {
  if (tx < 0) return "before the transactions";
  return tx >= txs ? "after the transactions" : `transaction ${tx}`;
}

export function seat(profile: string, threads: number): string {
  return `${profile}, ${threads} thread${threads === 1 ? "" : "s"}`;
}
