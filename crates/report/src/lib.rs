//! Look at a schedule: record it, say what its block allowed, explain it, draw it.
//!
//! [`Recorder`] is a [`Probe`](braid_core::Probe) that keeps a schedule's events; [`Trace`] is what they come to.
//! [`Graph`] and [`Analysis`] say what the dependencies of the block allow: work, span, and the time on workers
//! that nobody has. Both are parts of the record of a run ([`RunRecord`]), from which come [`explain`](fn@explain)
//! and the report.
#![forbid(unsafe_code)]

pub mod analysis;
mod explain;
pub mod graph;
mod lanes;
pub mod model;
mod perfetto;
pub mod record;
mod recorder;
mod render;
mod text;
pub mod trace;
mod view;

pub use analysis::Analysis;
pub use explain::{Aborted, EXPLANATION_VERSION, ExplainError, Explanation, Needed, Waited, explain};
pub use graph::Graph;
pub use lanes::{DiskTimes, Lane, RootTimes, SPANS_MAX, Span};
pub use model::{Conflicts, Model, ModelTimes};
pub use perfetto::perfetto;
pub use record::{RecordError, RunRecord};
pub use recorder::{EVENTS_PER_WORKER, Recorder};
pub use render::{html, markdown};
pub use trace::{Described, Key, Trace};
pub use view::{BlockView, Mean, Origin, REPORT_VERSION, Report, TraceView};
