// The document of `braid report --format json`: crates/report/src/view.rs.

export interface Key {
  text: string;
  name?: string;
}

export type Fate = "committed" | "aborted" | "blocked" | "open";

export interface Task {
  tx: number;
  incarnation: number;
  worker: number;
  lane: number;
  start_ns: number;
  end_ns: number;
  fate: Fate;
}

export interface Wait {
  task: number | null;
  tx: number;
  key: number;
  on: number;
  at_ns: number;
  until_ns: number;
}

export interface Abort {
  task: number | null;
  tx: number;
  key: number;
  by: number | null;
  worker: number;
  at_ns: number;
  cost_ns: number;
}

export type LaneName = "execution" | "root" | "disk";

export interface Span {
  lane: LaneName;
  what: string;
  start_ns: number;
  end_ns: number;
  busy_ns?: number;
}

/** The state root of one block. */
export interface RootTimes {
  from: string;
  rooted_ns: number;
  ahead_ns: number;
  after_ns: number;
  locations: number;
}

/** One block made durable. */
export interface DiskTimes {
  archive_ns: number;
  write_ns: number;
  sync_ns: number;
  bytes: number;
}

export interface Trace {
  input: string;
  profile: string;
  scheduler: string;
  threads: number;
  txs: number;
  elapsed_ns: number;
  lost: number;
  keys: Key[];
  tasks: Task[];
  waits: Wait[];
  aborts: Abort[];
  commits: { tx: number; worker: number; at_ns: number }[];
  totals: {
    executions: number;
    aborted: number;
    blocked: number;
    waits: number;
    busy_ns: number;
    wasted_ns: number;
    waited_ns: number;
  };
  costs: { key: number; aborts: number; waits: number; cost_ns: number }[];
  impossible: string | null;
  model?: ModelTimes;
  /** What the block took besides its workers; root and disk may end after `elapsed_ns`. */
  lanes?: Span[];
}

/** What a profile's own model makes of its schedule: computed, not measured. */
export interface ModelTimes {
  hint_ns: number;
  one_by_one_ns: number;
  work_ns: number;
  span_ns: number;
  floor_ns: number;
  floor: string;
  virtual: { workers: number; time_ns: number; busy_ns: number; executions: number }[];
}

export interface Virtual {
  workers: number;
  block_order_ns: number;
  critical_path_ns: number;
}

export interface Analysis {
  input: string;
  txs: number;
  work_ns: number;
  span_ns: number;
  critical_path: number[];
  weights: number[];
  virtual: Virtual[];
  keys: Key[];
  access: { reads: number[]; writes: number[]; private: number }[];
  edges: [number, number, number][];
  edges_total: number;
  hot: { key: number; with: number[]; edges: number; critical: boolean; span_ns: number; virtual: Virtual[] }[];
}

export interface Row {
  input: string;
  txs: number;
  profile: string;
  threads: number;
  runs: number;
  median_ns: number;
  reference_median_ns: number;
  speedup: number;
  ci95: [number, number];
  noise_floor: number;
  executions: number;
  retries: number;
  limit: number | null;
  hints: { source: string; ns: number; precision: number | null; recall: number | null } | null;
  rooted_ns?: number | null;
  root_adds?: number | null;
}

export interface Mean {
  profile: string;
  threads: number;
  blocks: number;
  speedup: number;
  ci95: [number, number] | null;
  limit: number | null;
  noise_floor: number;
  foretold: boolean;
}

export interface Block {
  input: string;
  analysis: Analysis | null;
  traces: Trace[];
}

export interface Report {
  version: number;
  verdict: string;
  notes: string[];
  run: {
    arguments: string[];
    version: string;
    finished_unix: number;
    seed: string;
    machine: { os: string; arch: string; cpu: string | null; physical_cores: number; usable_cores: number };
  };
  reference: string | null;
  rows: Row[];
  results: {
    input: string;
    profile: string;
    threads: number;
    txs: number | null;
    gas_used: number | null;
    elapsed_ns: number | null;
    executions: number | null;
    retries: number | null;
    status: string;
    root?: RootTimes | null;
    disk?: DiskTimes | null;
  }[];
  means: Mean[];
  blocks: Block[];
}
