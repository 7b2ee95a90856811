//! `braid explain`: why a transaction waited or ran again.

use crate::{Exit, Session, json::SCHEMA, progress::Ui, report::read};
use braid_report::Explanation;
use clap::Args;
use serde::Serialize;
use std::fmt::Write;

#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    /// The record of a run or comparison that was made with --trace: its path, or `last` for the latest.
    run: String,
    /// The transaction, by its place in the block, from 0.
    #[arg(long, value_name = "N")]
    tx: u32,
    /// Only schedules of this profile.
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// What `explain --json` prints.
#[derive(Serialize)]
struct ExplainDocument<'a> {
    schema: u32,
    command: &'static str,
    explanations: &'a [Explanation],
}

/// Carries the command out.
pub(crate) fn explain(args: &ExplainArgs, session: &Session<'_>, ui: &mut Ui<'_>) -> Exit {
    let mut record = match read(&args.run, session) {
        Ok(record) => record,
        Err(message) => {
            ui.error(message);
            return Exit::Failure;
        }
    };
    let before = record.traces.len();
    if let Some(profile) = &args.profile {
        record.traces.retain(|trace| trace.profile == *profile);
        if record.traces.is_empty() && before > 0 {
            ui.error(format_args!("{}: no schedule of profile `{profile}`", args.run));
            return Exit::Nothing;
        }
    }
    let explained = match braid_report::explain(&record, args.tx) {
        Ok(explained) => explained,
        Err(error) => {
            ui.error(format_args!("{}: {error}", args.run));
            if before == 0 {
                ui.hint("braid run INPUT --profile braid --trace");
            }
            return Exit::Nothing;
        }
    };
    if args.json {
        let document = ExplainDocument { schema: SCHEMA, command: "explain", explanations: &explained };
        ui.result(&crate::to_json(&document));
        return Exit::Ok;
    }
    let mut text = String::new();
    for one in &explained {
        let _ = writeln!(text, "{}, {} with {} threads:", one.input, one.profile, one.threads);
        for sentence in &one.story {
            let _ = writeln!(text, "  {sentence}");
        }
    }
    ui.result(&text);
    Exit::Ok
}
