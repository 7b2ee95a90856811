// What a block takes besides its workers: a row for each lane (execution, root, disk) below those of the workers.

import type { Surface } from "./canvas";
import { time } from "./format";
import type { Colors } from "./theme";
import type { LaneName, Span, Trace } from "./types";

const NAMES: LaneName[] = ["execution", "root", "disk"];

export interface LaneRow {
  name: LaneName;
  /** By their start. */
  spans: Span[];
}

/** The lanes that there are, in the order in which they are drawn. */
export function laneRows(trace: Trace): LaneRow[] {
  const of = (name: LaneName) => (trace.lanes ?? []).filter((span) => span.lane === name);
  return NAMES.map((name) => ({ name, spans: of(name) })).filter((row) => row.spans.length > 0);
}

/** From the beginning of the block to the end of its last lane. */
export function wholeTime(trace: Trace): number {
  return (trace.lanes ?? []).reduce((end, span) => Math.max(end, span.end_ns), trace.elapsed_ns);
}

export const work = (span: Span) => span.busy_ns ?? span.end_ns - span.start_ns;

/** A pale box for as long as it lasts, filled as far up as it was at work. */
export function paintSpans(
  view: Surface,
  row: LaneRow,
  [top, high]: [number, number],
  x: (ns: number) => number,
  [left, begin, end]: [number, number, number],
  ink: Colors,
): void {
  const { context } = view;
  context.save();
  context.font = "11px system-ui, sans-serif";
  context.textBaseline = "middle";
  context.textAlign = "left";
  for (const span of row.spans) {
    if (span.end_ns < begin || span.start_ns > end) continue;
    const from = Math.max(left, x(span.start_ns));
    const wide = Math.max(1, Math.min(view.width, x(span.end_ns)) - from - 0.5);
    const share = work(span) / Math.max(1, span.end_ns - span.start_ns);
    const filled = Math.max(1, high * Math.min(1, share));
    context.fillStyle = ink[row.name];
    context.globalAlpha = 0.35;
    context.fillRect(from, top, wide, high - filled);
    context.globalAlpha = 1;
    context.fillRect(from, top + high - filled, wide, filled);
    view.call(2);
    if (high < 13 || span.what.length * 6.2 > wide - 6) continue;
    context.fillStyle = share > 0.6 ? "#000000" : ink.ink;
    context.fillText(span.what, from + 3, top + high / 2);
    view.call();
  }
  context.restore();
}

/** What a pointer at this time of a lane is told. */
export function spanWords(row: LaneRow, at: number, slack: number): string | undefined {
  const span = row.spans.find((span) => span.start_ns - slack <= at && at <= span.end_ns + slack);
  if (!span) return undefined;
  const lasts = span.end_ns - span.start_ns;
  const pauses = work(span) < lasts ? `\nat work for ${time(work(span))} of that` : "";
  return `${row.name}, ${span.what}: ${time(lasts)}${pauses}`;
}
