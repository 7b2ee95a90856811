//! Where output goes: results to stdout; progress, errors and hints to stderr.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    fmt::Display,
    io::{self, ErrorKind, Write},
    path::PathBuf,
    time::{Duration, Instant},
};

/// Off a terminal, how long counting is silent.
const TOLD_EVERY: Duration = Duration::from_secs(5);

/// The two streams, and how to write on them.
pub(crate) struct Ui<'a> {
    /// Results, and nothing else.
    pub(crate) out: &'a mut dyn Write,
    /// Everything else.
    pub(crate) err: &'a mut dyn Write,
    /// Neither progress nor hints.
    pub(crate) quiet: bool,
    /// Colour on stdout.
    pub(crate) color_out: bool,
    /// Colour on stderr.
    pub(crate) color_err: bool,
    /// Whether stderr is a terminal, where progress is a bar.
    pub(crate) terminal: bool,
    /// Where files go that nobody asked for by name.
    pub(crate) folder: PathBuf,
    /// Whether a result could not be written.
    pub(crate) lost: bool,
    bar: Option<ProgressBar>,
    /// When a line was told last.
    told: Option<Instant>,
    done: usize,
    total: usize,
}

impl<'a> Ui<'a> {
    /// Writes on these, without colour, bar or quiet.
    pub(crate) fn new(out: &'a mut dyn Write, err: &'a mut dyn Write) -> Self {
        Ui {
            out,
            err,
            quiet: false,
            color_out: false,
            color_err: false,
            terminal: false,
            folder: PathBuf::new(),
            lost: false,
            bar: None,
            told: None,
            done: 0,
            total: 0,
        }
    }

    /// A result. A reader that has gone away is no error of ours; whatever else keeps it from being written is told,
    /// once.
    pub(crate) fn result(&mut self, text: &str) {
        match self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe && !self.lost => self.unwritten(&error),
            _ => {}
        }
    }

    fn unwritten(&mut self, error: &io::Error) {
        self.lost = true;
        self.error(format_args!("the result could not be written to stdout: {error}"));
    }

    /// An error.
    pub(crate) fn error(&mut self, error: impl Display) {
        let label = if self.color_err { "\u{1b}[1;31merror:\u{1b}[0m" } else { "error:" };
        self.line(format_args!("{label} {error}"));
    }

    /// Something that the user should know, though nothing failed.
    pub(crate) fn warn(&mut self, warning: impl Display) {
        let label = if self.color_err { "\u{1b}[1;33mwarning:\u{1b}[0m" } else { "warning:" };
        self.line(format_args!("{label} {warning}"));
    }

    /// What to do next.
    pub(crate) fn hint(&mut self, hint: impl Display) {
        if !self.quiet {
            let label = if self.color_err { "\u{1b}[36mnext:\u{1b}[0m" } else { "next:" };
            self.line(format_args!("{label} {hint}"));
        }
    }

    /// Something about what is to come.
    pub(crate) fn note(&mut self, note: impl Display) {
        if !self.quiet {
            self.line(note);
        }
    }

    /// A line on stderr that is wanted even if quiet.
    pub(crate) fn line(&mut self, line: impl Display) {
        let err = &mut *self.err;
        let mut write = || drop(writeln!(err, "{line}"));
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Begins to count up to `total`.
    pub(crate) fn start(&mut self, total: usize) {
        (self.done, self.total, self.told) = (0, total, None);
        if self.terminal && !self.quiet {
            let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr());
            // A template that does not parse falls back on the bar's own.
            if let Ok(style) = ProgressStyle::with_template("{bar:24} {pos}/{len} {elapsed} {msg}") {
                bar.set_style(style);
            }
            self.bar = Some(bar);
        }
    }

    /// Begins the next item.
    pub(crate) fn item(&mut self, name: &str) {
        self.done += 1;
        let (done, total) = (self.done, self.total);
        match &self.bar {
            Some(bar) => {
                bar.set_position(done.saturating_sub(1) as u64);
                bar.set_message(name.to_owned());
            }
            None if self.quiet => {}
            None => drop(writeln!(self.err, "[{done}/{total}] {name}")),
        }
    }

    /// Says that `done` items are done. Off a terminal, a line every few seconds.
    pub(crate) fn count(&mut self, done: usize, name: impl FnOnce() -> String) {
        self.done = done;
        let total = self.total;
        match &self.bar {
            Some(bar) => {
                bar.set_position(done as u64);
                bar.set_message(name());
            }
            None if self.quiet => {}
            None => {
                let told = self.told.get_or_insert_with(Instant::now);
                if told.elapsed() >= TOLD_EVERY || done == total {
                    self.told = Some(Instant::now());
                    drop(writeln!(self.err, "[{done}/{total}] {}", name()));
                }
            }
        }
    }

    /// Says how far the present item is. Shown on a terminal only.
    pub(crate) fn detail(&mut self, text: impl FnOnce() -> String) {
        if let Some(bar) = &self.bar {
            bar.set_message(text());
        }
    }

    /// Ends counting.
    pub(crate) fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
