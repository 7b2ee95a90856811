//! The cases that are not run, each with its reason.

use crate::Case;
use std::sync::OnceLock;

/// The committed list: a line is the end of the path of a file, `::`, a case (with `*` for any text), a
/// tabulator, and the reason.
const LIST: &str = include_str!("../skips.txt");

/// One line of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skip {
    /// Path of the file, in its archive.
    pub file: &'static str,
    /// Name of the case; `*` stands for any text.
    pub case: &'static str,
    /// Why.
    pub reason: &'static str,
}

/// The list.
pub fn skips() -> &'static [Skip] {
    static PARSED: OnceLock<Vec<Skip>> = OnceLock::new();
    PARSED.get_or_init(|| LIST.lines().filter_map(parse).collect())
}

fn parse(line: &'static str) -> Option<Skip> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let (pattern, reason) = line.split_once('\t')?;
    let (file, case) = pattern.split_once("::")?;
    Some(Skip { file, case, reason: reason.trim() })
}

/// Why `case` is not run, if it is not.
pub fn skipped(case: &Case) -> Option<&'static Skip> {
    skips().iter().find(|skip| ends(&case.file, skip.file) && matches(skip.case, &case.name))
}

/// Whether `path` ends in `end`, at the beginning of a name.
fn ends(path: &str, end: &str) -> bool {
    path.strip_suffix(end).is_some_and(|before| before.is_empty() || before.ends_with('/'))
}

/// Whether `text` is `pattern` with something for every `*`.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((first, mut rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    while let Some((part, more)) = rest.split_once('*') {
        let Some(at) = text.find(part) else { return false };
        (text, rest) = (&text[at + part.len()..], more);
    }
    text.ends_with(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_list_is_an_entry() {
        let lines = LIST.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')).count();
        assert_eq!(skips().len(), lines);
        assert!(skips().iter().all(|skip| !skip.reason.is_empty() && !skip.file.is_empty()));
    }

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("*", "", true),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*c", "abc", true),
            ("a*d", "abc", false),
            ("a*b*c", "a-b-c", true),
            ("a*c*b", "a-b-c", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
        assert!(ends("x.tar.zst/A/b.json", "A/b.json") && !ends("x/AA/b.json", "A/b.json"));
    }
}
