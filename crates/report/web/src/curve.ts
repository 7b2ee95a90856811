// Virtual speed-ups over numbers of workers, beside what was measured, and marked as what they are.

import uPlot from "uplot";
import { el } from "./dom";
import { time, times } from "./format";
import { table } from "./table";
import { colors, onTheme } from "./theme";
import type { Analysis, Row, Virtual } from "./types";

const HEIGHT = 320;

/** Marks of measured points: what colour says, shape says again. */
const SHAPES = ["●", "■", "▲", "◆", "✚", "★", "▼", "⬟"];

export function curve(holder: HTMLElement): (analysis: Analysis, rows: Row[]) => void {
  const place = el("div", { class: "plot" });
  const legend = el("p", { class: "legend" });
  let work = 1;
  const speed = (ns: number) => work / Math.max(ns, 1);
  const list = table<Virtual>("The numbers (virtual)", [
    { head: "workers", cell: (one) => String(one.workers), value: (one) => one.workers },
    { head: "in block order", cell: (one) => `${time(one.block_order_ns)} (${times(speed(one.block_order_ns))})`, value: (one) => one.block_order_ns },
    { head: "by critical path", cell: (one) => `${time(one.critical_path_ns)} (${times(speed(one.critical_path_ns))})`, value: (one) => one.critical_path_ns },
  ]);
  holder.append(place, legend, list.element);
  let analysis: Analysis | undefined;
  let measured: Row[] = [];
  let plot: uPlot | undefined;

  function draw(): void {
    plot?.destroy();
    place.replaceChildren();
    if (!analysis) return;
    const ink = colors();
    const limit = analysis.span_ns > 0 ? analysis.work_ns / analysis.span_ns : 1;
    const threads = measured.map((row) => row.threads);
    const x = [...new Set([...analysis.virtual.map((one) => one.workers), ...threads])].sort((a, b) => a - b);
    const at = (value: (one: Virtual) => number) =>
      x.map((workers) => {
        const one = analysis?.virtual.find((one) => one.workers === workers);
        return one ? speed(value(one)) : null;
      });
    const profiles = [...new Set(measured.map((row) => row.profile))];
    const points = profiles.map((profile) =>
      x.map((workers) => measured.find((row) => row.profile === profile && row.threads === workers)?.speedup ?? null),
    );
    const seen = points.flat().map((value) => value ?? 0);
    const lines = [...at((one) => one.critical_path_ns), ...at((one) => one.block_order_ns)].map((value) => value ?? 1);
    const top = 2 ** Math.ceil(Math.log2(Math.max(1.5, ...lines, ...seen) * 1.05));
    const low = 2 ** Math.floor(Math.log2(Math.min(1, ...seen.filter((value) => value > 0)) * 0.98));
    const color = (index: number) => ink.series[index % ink.series.length] ?? ink.ink;
    const shape = (index: number) => SHAPES[index % SHAPES.length] ?? "●";
    const axis = { stroke: ink.ink, grid: { stroke: ink.grid, width: 1 }, ticks: { stroke: ink.grid, width: 1 } };
    const ratio = devicePixelRatio || 1;
    plot = new uPlot(
      {
        width: Math.max(200, place.clientWidth),
        height: HEIGHT,
        legend: { show: false },
        cursor: { show: false },
        scales: { x: { time: false, distr: 3, log: 2, range: [(x[0] ?? 1) / 1.3, (x.at(-1) ?? 32) * 1.15] }, y: { distr: 3, log: 2, range: [low, top] } },
        axes: [
          { ...axis, label: "workers (virtual), threads (measured)", labelSize: 22, size: 36, splits: () => x, values: (_plot, splits) => splits.map(String) },
          { ...axis, size: 56, splits: () => powers(low, top), values: (_plot, splits) => splits.map((value) => `${value}×`) },
        ],
        series: [
          {},
          { label: "virtual, by critical path", stroke: color(0), width: 2, spanGaps: true, points: { show: true, size: 6, fill: color(0) } },
          { label: "virtual, in block order", stroke: color(1), width: 2, dash: [7, 4], spanGaps: true, points: { show: true, size: 6, fill: ink.paper } },
        ],
        hooks: {
          draw: [
            (chart) => {
              chart.ctx.save();
              chart.ctx.textAlign = "center";
              chart.ctx.textBaseline = "middle";
              chart.ctx.font = `${15 * ratio}px system-ui, sans-serif`;
              points.forEach((values, index) =>
                values.forEach((value, place) => {
                  if (value === null) return;
                  // Points of one number of threads stand side by side.
                  const shift = (index - (profiles.length - 1) / 2) * 11 * ratio;
                  const left = chart.valToPos(x[place] ?? 1, "x", true) + shift;
                  chart.ctx.strokeStyle = ink.paper;
                  chart.ctx.lineWidth = 3 * ratio;
                  chart.ctx.fillStyle = color(index);
                  chart.ctx.strokeText(shape(index), left, chart.valToPos(value, "y", true));
                  chart.ctx.fillText(shape(index), left, chart.valToPos(value, "y", true));
                }),
              );
              chart.ctx.restore();
              const y = chart.valToPos(limit, "y", true);
              if (y < chart.bbox.top) return;
              chart.ctx.save();
              chart.ctx.strokeStyle = ink.limit;
              chart.ctx.fillStyle = ink.limit;
              chart.ctx.lineWidth = 2 * ratio;
              chart.ctx.setLineDash([5 * ratio, 3 * ratio]);
              chart.ctx.beginPath();
              chart.ctx.moveTo(chart.bbox.left, y);
              chart.ctx.lineTo(chart.bbox.left + chart.bbox.width, y);
              chart.ctx.stroke();
              chart.ctx.font = `${12 * ratio}px system-ui, sans-serif`;
              chart.ctx.textAlign = "left";
              chart.ctx.fillText(`work / span = ${limit.toFixed(2)}`, chart.bbox.left + 8 * ratio, y - 6 * ratio);
              chart.ctx.restore();
            },
          ],
        },
      },
      [x, at((one) => one.critical_path_ns), at((one) => one.block_order_ns)],
      place,
    );
    legend.replaceChildren();
    const entry = (text: string, index: number, kind: string, glyph = "") => {
      const mark = el("span", { class: `mark ${kind}` }, glyph);
      mark.style.color = color(index);
      legend.append(mark, `${text} `);
    };
    entry("virtual, by critical path", 0, "line");
    entry("virtual, in block order", 1, "dash");
    profiles.forEach((profile, index) => entry(`measured, ${profile}`, index, "glyph", shape(index)));
    place.setAttribute("role", "img");
    place.setAttribute(
      "aria-label",
      `Virtual speed-up by workers: ${analysis.virtual.map((one) => `${one.workers}: ${times(speed(one.critical_path_ns))}`).join("; ")}`,
    );
  }

  onTheme(draw);
  new ResizeObserver(() => {
    if (plot && Math.abs(plot.width - place.clientWidth) > 1) draw();
  }).observe(place);
  return (next, rows) => {
    [analysis, measured, work] = [next, rows, next.work_ns];
    list.show(next.virtual);
    draw();
  };
}

/** The powers of two of a range. */
function powers(low: number, top: number): number[] {
  const made: number[] = [];
  for (let value = low; value <= top; value *= 2) made.push(value);
  return made;
}
