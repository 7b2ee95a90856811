// Colours: Okabe and Ito's palette, which people with any colour vision tell apart; patterns say the same again.

export interface Colors {
  ink: string;
  faint: string;
  grid: string;
  paper: string;
  panel: string;
  committed: string;
  aborted: string;
  blocked: string;
  open: string;
  wait: string;
  execution: string;
  root: string;
  disk: string;
  limit: string;
  mark: string;
  series: string[];
}

const SERIES_LIGHT = ["#0072b2", "#d55e00", "#009e73", "#aa4e86", "#b57f00", "#3b93c9"];
const SERIES_DARK = ["#56b4e9", "#f0803c", "#2fc79b", "#e59bc4", "#f0c645", "#9fd4f5"];

let dark = false;
const listeners: (() => void)[] = [];

export function colors(): Colors {
  return dark
    ? {
        ink: "#e8e8ea",
        faint: "#a2a5ad",
        grid: "#3a3d45",
        paper: "#16181d",
        panel: "#1e2127",
        committed: "#3f8fc4",
        aborted: "#f0803c",
        blocked: "#f0c645",
        open: "#7d818b",
        wait: "#16181d",
        execution: "#8fa0b5",
        root: "#2fc79b",
        disk: "#e59bc4",
        limit: "#e59bc4",
        mark: "#ffffff",
        series: SERIES_DARK,
      }
    : {
        ink: "#1b1d22",
        faint: "#5d626d",
        grid: "#dcdee3",
        paper: "#ffffff",
        panel: "#f6f7f9",
        committed: "#4a9bd1",
        aborted: "#d55e00",
        blocked: "#e8b000",
        open: "#9a9ea8",
        wait: "#ffffff",
        execution: "#93a5bb",
        root: "#009e73",
        disk: "#cc79a7",
        limit: "#aa4e86",
        mark: "#000000",
        series: SERIES_LIGHT,
      };
}

/** Draws again whenever colours change. */
export function onTheme(draw: () => void): void {
  listeners.push(draw);
}

function apply(next: boolean): void {
  dark = next;
  document.documentElement.dataset["theme"] = next ? "dark" : "light";
  listeners.forEach((draw) => draw());
}

/** Follows the system until somebody chooses. */
export function startTheme(toggle: HTMLElement): void {
  const system = matchMedia("(prefers-color-scheme: dark)");
  let chosen = false;
  apply(system.matches);
  system.addEventListener("change", () => chosen || apply(system.matches));
  toggle.addEventListener("click", () => {
    chosen = true;
    apply(!dark);
  });
}
