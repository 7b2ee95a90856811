//! Where the inputs come from.

use crate::{Env, T8nError, TxsInput, alloc::JsonAlloc, parse_alloc, parse_body, parse_env, parse_txs, txs};
use braid_work::Alloc;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    str::FromStr,
};

/// Most bytes of one input.
const MAX_INPUT_BYTES: u64 = 1 << 30;

/// One input: a file, or part of the object on the standard input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The member of this input in the object on the standard input.
    Stdin,
    /// A file.
    File(PathBuf),
}

impl FromStr for Source {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(if text == "stdin" { Source::Stdin } else { Source::File(text.into()) })
    }
}

/// Where each input comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    /// The state before.
    pub alloc: Source,
    /// The environment.
    pub env: Source,
    /// The transactions: a JSON list, or RLP in a hexadecimal string if the name ends in `.rlp`.
    pub txs: Source,
}

/// What goes into a transition.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// The state before.
    pub alloc: Alloc,
    /// The environment.
    pub env: Env,
    /// The transactions.
    pub txs: TxsInput,
}

/// The object on the standard input. Members that come from files are not looked at.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stdin<'a> {
    #[serde(borrow)]
    alloc: Option<&'a RawValue>,
    #[serde(borrow)]
    env: Option<&'a RawValue>,
    #[serde(borrow)]
    txs: Option<&'a RawValue>,
    txs_rlp: Option<String>,
}

impl Sources {
    /// Reads and parses the inputs; `stdin` is read only if an input comes from it.
    ///
    /// # Errors
    /// If one cannot be read, or is not what it should be.
    pub fn read(&self, stdin: &mut dyn Read) -> Result<Inputs, T8nError> {
        let mut bytes = Vec::new();
        if [&self.alloc, &self.env, &self.txs].into_iter().any(|source| *source == Source::Stdin) {
            bytes = read_limited("stdin".as_ref(), stdin)?;
        }
        let mut members = Stdin { alloc: None, env: None, txs: None, txs_rlp: None };
        if !bytes.is_empty() {
            members = parse("stdin", &bytes)?;
        }
        let alloc = match &self.alloc {
            Source::Stdin => match members.alloc {
                Some(json) => parse::<Option<JsonAlloc>>("stdin: alloc", json.get().as_bytes())?
                    .map(Into::into)
                    .unwrap_or_default(),
                None => Alloc::default(),
            },
            Source::File(path) => parse_alloc(&path.display().to_string(), &read(path)?)?,
        };
        let env = match &self.env {
            Source::Stdin => {
                let json = members.env.ok_or_else(|| T8nError::json("stdin", "env", "missing"))?;
                parse_env("stdin: env", json.get().as_bytes())?
            }
            Source::File(path) => parse_env(&path.display().to_string(), &read(path)?)?,
        };
        let txs = match &self.txs {
            Source::Stdin => match (members.txs_rlp.filter(|body| !body.is_empty()), members.txs) {
                (Some(body), _) => txs::parse_body_text("stdin: txsRlp", &body)?,
                (None, Some(json)) => parse_txs("stdin: txs", json.get().as_bytes())?,
                (None, None) => TxsInput::default(),
            },
            Source::File(path) => {
                let (name, bytes) = (path.display().to_string(), read(path)?);
                match path.extension().is_some_and(|extension| extension == "rlp") {
                    true => parse_body(&name, &bytes)?,
                    false => parse_txs(&name, &bytes)?,
                }
            }
        };
        Ok(Inputs { alloc, env, txs })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, T8nError> {
    let mut file = File::open(path).map_err(|error| T8nError::io(path, &error))?;
    read_limited(path, &mut file)
}

fn read_limited(path: &Path, source: &mut dyn Read) -> Result<Vec<u8>, T8nError> {
    let mut bytes = Vec::new();
    source.take(MAX_INPUT_BYTES + 1).read_to_end(&mut bytes).map_err(|error| T8nError::io(path, &error))?;
    let size = bytes.len() as u64;
    if size > MAX_INPUT_BYTES {
        let what = format!("{}: bytes", path.display());
        return Err(T8nError::TooLarge { what, size, limit: MAX_INPUT_BYTES });
    }
    Ok(bytes)
}

/// Parses `json`, naming the path of what is wrong. Nesting is limited by the parser (128 levels).
pub(crate) fn parse<'a, T: Deserialize<'a>>(what: &str, json: &'a [u8]) -> Result<T, T8nError> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let value = serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|error| T8nError::json(what, error.path().to_string(), error.inner().to_string()))?;
    deserializer.end().map_err(|error| T8nError::json(what, ".", error.to_string()))?;
    Ok(value)
}
