// Times on workers that nobody has, by each profile's own model of conflicts: a table, marked as what it is.

import { el } from "./dom";
import { count, seat, time, times } from "./format";
import { table } from "./table";
import type { Block, ModelTimes, Trace } from "./types";

const WORKERS = [1, 2, 8, 16, 32];

interface Line {
  trace: Trace;
  model: ModelTimes;
}

/** Whether there is anything to show of a block. */
export function modelled(block: Block): boolean {
  return block.traces.some((trace) => trace.model);
}

export function models(holder: HTMLElement): (block: Block) => void {
  const on = (line: Line, workers: number) => line.model.virtual.find((one) => one.workers === workers);
  const speed = (line: Line, workers: number) => line.model.one_by_one_ns / Math.max(on(line, workers)?.time_ns ?? Infinity, 1);
  const again = (line: Line) => (on(line, 8)?.executions ?? 0) - (on(line, 1)?.executions ?? 0);
  const list = table<Line>(
    "By each profile's own model of conflicts (virtual)",
    [
      { head: "schedule of", words: true, cell: (line) => seat(line.trace.profile, line.trace.threads) },
      { head: "hints", cell: (line) => (line.model.hint_ns ? time(line.model.hint_ns) : "–"), value: (line) => line.model.hint_ns },
      { head: "work", cell: (line) => time(line.model.work_ns), value: (line) => line.model.work_ns },
      { head: "span", cell: (line) => time(line.model.span_ns), value: (line) => line.model.span_ns },
      ...WORKERS.map((workers) => ({
        head: `on ${workers}`,
        cell: (line: Line) => times(speed(line, workers)),
        value: (line: Line) => speed(line, workers),
      })),
      { head: "again on 8", cell: (line) => count(again(line)), value: again },
    ],
    true,
  );
  const about = el(
    "p",
    { class: "about" },
    "What each design would take on workers that nobody has, by what it makes transactions wait for: simulated from the times of its own schedule, getting hints and repeated executions included, everything else free. In multiples of the same executions one by one. Not measured.",
  );
  holder.append(about, list.element);
  return (block) => {
    const lines = block.traces.flatMap((trace) => (trace.model ? [{ trace, model: trace.model }] : []));
    about.hidden = list.element.hidden = lines.length === 0;
    list.show(lines);
  };
}
