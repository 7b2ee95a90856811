//! `braid report`: a run or a comparison, drawn.

use crate::{Exit, Session, json::SCHEMA, progress::Ui, record::replace};
use braid_report::{Report, RunRecord, record::RECORD_BYTES_MAX};
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

/// What a report is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// One page with everything in it, which needs no network.
    Html,
    /// One JSON document.
    Json,
    /// Tables in Markdown.
    Md,
    /// The schedules for ui.perfetto.dev.
    Perfetto,
}

#[derive(Args, Debug)]
pub(crate) struct ReportArgs {
    /// The record of a run or comparison, best made with --trace: its path, or `last` for the latest.
    run: String,
    /// The form.
    #[arg(long, value_enum, default_value_t = Format::Html, value_name = "FORMAT")]
    format: Format,
    /// Write it here, not to stdout.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// What `report --format json` prints.
#[derive(Serialize)]
struct ReportDocument<'a> {
    schema: u32,
    command: &'static str,
    #[serde(flatten)]
    report: &'a Report,
}

/// Carries the command out.
pub(crate) fn report(args: &ReportArgs, session: &Session<'_>, ui: &mut Ui<'_>) -> Exit {
    let record = match read(&args.run, session) {
        Ok(record) => record,
        Err(message) => {
            ui.error(message);
            return Exit::Failure;
        }
    };
    let (traced, mut exit) = (!record.traces.is_empty(), Exit::Ok);
    let text = if args.format == Format::Perfetto {
        if !traced {
            ui.error(format_args!(
                "{}: there is no schedule in it: it was made without --trace, or of profiles that have none",
                args.run
            ));
            return Exit::Nothing;
        }
        crate::to_json(&braid_report::perfetto(&record.traces))
    } else {
        let report = Report::new(record);
        if report.is_impossible() {
            ui.error(format_args!("{}: a time in it cannot be: the report says which", args.run));
            exit = Exit::Failure;
        }
        match args.format {
            Format::Html => braid_report::html(&report),
            Format::Md => braid_report::markdown(&report),
            _ => crate::to_json(&ReportDocument { schema: SCHEMA, command: "report", report: &report }),
        }
    };
    let Some(path) = &args.output else {
        ui.result(&text);
        return exit;
    };
    if let Err(error) = replace(path, text.as_bytes()) {
        ui.error(format_args!("{}: {error}", path.display()));
        return Exit::Failure;
    }
    match args.format {
        Format::Perfetto => ui.hint(format_args!("open {} at https://ui.perfetto.dev", path.display())),
        Format::Html => ui.hint(format_args!("open {} in a browser", path.display())),
        Format::Json | Format::Md => {}
    }
    if !traced {
        ui.hint("--trace makes records with schedules");
    }
    exit
}

/// Reads the record at a path, or the latest one. The error names the file.
pub(crate) fn read(run: &str, session: &Session<'_>) -> Result<RunRecord, String> {
    let path = match (run, &session.cache) {
        ("last", Some(cache)) => cache.join("last.json"),
        ("last", None) => return Err("there is no latest record: no cache folder is known".to_owned()),
        (path, _) => Path::new(path).to_owned(),
    };
    let named = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let mut text = Vec::new();
    let file = File::open(&path).map_err(|error| named(&error))?;
    file.take(RECORD_BYTES_MAX + 1).read_to_end(&mut text).map_err(|error| named(&error))?;
    if text.len() as u64 > RECORD_BYTES_MAX {
        return Err(named(&format_args!("larger than {RECORD_BYTES_MAX} bytes")));
    }
    RunRecord::parse(&text).map_err(|error| named(&error))
}
