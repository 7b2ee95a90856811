// The story of one transaction in one schedule.

import { button, el } from "./dom";
import { count, label, moment, time, txName } from "./format";
import type { Analysis, Key, Trace } from "./types";

const KEYS_MAX = 40;

const FATE = {
  committed: "became final",
  aborted: "was thrown away",
  blocked: "stopped to wait",
  open: "was left open",
};

function keyed(key: Key | undefined): string {
  return key?.name ? `${key.name} (${key.text})` : (key?.text ?? "?");
}

/** Fills the panel. `go` shows another transaction. */
export function details(
  panel: HTMLElement,
  trace: Trace | undefined,
  analysis: Analysis | undefined,
  tx: number,
  go: (tx: number) => void,
): void {
  const link = (other: number, txs: number) => {
    const made = button(txName(other, txs), `show ${txName(other, txs)}`, () => go(other));
    made.className = "link";
    return made;
  };
  const txs = trace?.txs ?? analysis?.txs ?? 0;
  panel.replaceChildren(el("h3", {}, txName(tx, txs)));
  if (trace) panel.append(inSchedule(trace, tx, link));
  if (analysis && tx >= 0 && tx < analysis.txs) panel.append(...inBlock(analysis, tx, link));
  panel.hidden = false;
}

function inSchedule(trace: Trace, tx: number, link: (tx: number, txs: number) => HTMLElement): HTMLElement {
  const list = el("ul", { class: "story" });
  const waited = (task: number | null) => {
    for (const wait of trace.waits) {
      if (wait.tx !== tx || wait.task !== task || list.childElementCount > 100) continue;
      const line = el("li", { class: "why" }, `Waited ${time(wait.until_ns - wait.at_ns)} for `, link(wait.on, trace.txs));
      line.append(`, which was to write ${keyed(trace.keys[wait.key])}.`);
      list.append(line);
    }
  };
  waited(null);
  trace.tasks.forEach((task, index) => {
    if (task.tx !== tx || list.childElementCount > 100) return;
    const took = time(task.end_ns - task.start_ns);
    list.append(
      el("li", {}, `Execution ${task.incarnation} on worker ${task.worker}, from ${moment(task.start_ns)} for ${took}: ${FATE[task.fate]}.`),
    );
    for (const abort of trace.aborts) {
      if (abort.task !== index) continue;
      const line = el("li", { class: "why" }, "Thrown away: ");
      line.append(abort.by === null ? "somebody" : link(abort.by, trace.txs));
      line.append(` changed ${keyed(trace.keys[abort.key])} after it was read. That cost ${time(abort.cost_ns)}.`);
      list.append(line);
    }
    waited(index);
  });
  const commit = trace.commits.find((commit) => commit.tx === tx);
  if (commit) list.append(el("li", {}, `Final at ${moment(commit.at_ns)}, by worker ${commit.worker}.`));
  if (!list.childElementCount) list.append(el("li", {}, "Not in this schedule."));
  return list;
}

function inBlock(analysis: Analysis, tx: number, link: (tx: number, txs: number) => HTMLElement): HTMLElement[] {
  const made: HTMLElement[] = [];
  const critical = analysis.critical_path.includes(tx) ? ", on the critical path" : "";
  made.push(el("p", {}, `Run serially it takes ${time(analysis.weights[tx] ?? 0)}${critical}.`));
  const needs = analysis.edges.filter((edge) => edge[0] === tx);
  if (needs.length) {
    const list = el("ul", { class: "story" });
    for (const [, on, key] of needs.slice(0, KEYS_MAX)) {
      list.append(el("li", {}, "Needs ", link(on, analysis.txs), ` for ${keyed(analysis.keys[key])}.`));
    }
    made.push(list);
  }
  const access = analysis.access[tx];
  if (access) {
    const names = (keys: number[]) => {
      const list = el("ul", { class: "keys" });
      for (const key of keys.slice(0, KEYS_MAX)) {
        const of = analysis.keys[key];
        list.append(el("li", { title: of?.text ?? "" }, label(of)));
      }
      if (keys.length > KEYS_MAX) list.append(el("li", {}, `and ${count(keys.length - KEYS_MAX)} more`));
      if (!keys.length) list.append(el("li", {}, "none"));
      return list;
    };
    made.push(
      el(
        "div",
        { class: "access" },
        el("div", {}, el("h4", {}, "Reads that others share"), names(access.reads)),
        el("div", {}, el("h4", {}, "Writes that others share"), names(access.writes)),
      ),
      el("p", { class: "about" }, `Locations that it alone touches: ${count(access.private)}.`),
    );
  }
  return made;
}
