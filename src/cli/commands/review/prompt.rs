//! Asks for a decision.

use std::io::{self, IsTerminal};

use console::{Key, Term};

use super::chain::Chain;
use crate::cli::output::{colored_differences, print};
use crate::cli::pager::page;
use crate::error::{Error, ErrorKind, Result};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    Accept,
    Reject,
    Skip,
    Quit,
}

impl Decision {
    fn name(self) -> &'static str {
        match self {
            Self::Accept => "accepted",
            Self::Reject => "rejected",
            Self::Skip => "skipped",
            Self::Quit => "quit",
        }
    }
}

/// The answer to another key.
const KEYS: &str =
    "the keys are a or y (accept), r or n (reject), s (skip), d (differences), w (whole answers) and q (quit)";

/// What a terminal sends for Ctrl-D, which ends an input.
const END_OF_INPUT: char = '\u{4}';

/// Asks for a decision about a chain: a key press on a terminal, otherwise a line on stdin.
pub(super) fn prompt(chain: &Chain) -> Result<Decision> {
    let together = match chain.len() {
        1 => String::new(),
        number => format!(" these {number}, which depend on each other"),
    };
    loop {
        print(&format!(
            "[a]ccept, [r]eject, [s]kip{together}, [d] show all differences, [w]hole answers, [q]uit: "
        ))?;
        let decision = match read_key()? {
            Some('a' | 'y') => Decision::Accept,
            Some('r' | 'n') => Decision::Reject,
            Some('s') => Decision::Skip,
            None | Some('q') => Decision::Quit,
            Some('d') => {
                page(&colored_differences(&format!("\n{}", chain.text(0, chain.len(), None))))?;
                continue;
            }
            Some('w') => {
                page(&chain.whole())?;
                continue;
            }
            Some(_) => {
                print(&format!("\n{KEYS}\n"))?;
                continue;
            }
        };
        print(&format!("{}\n", decision.name()))?;
        return Ok(decision);
    }
}

/// The next key; `None` at the end of the input.
fn read_key() -> Result<Option<char>> {
    let failed = |error| Error::new(ErrorKind::Io, "cannot read the decision").with_source(error);
    if io::stdin().is_terminal() {
        return match Term::stdout().read_key().map_err(failed)? {
            Key::Char(END_OF_INPUT) => Ok(None),
            Key::Char(key) => Ok(Some(key)),
            Key::Escape | Key::CtrlC => Ok(None),
            _ => Ok(Some(' ')),
        };
    }
    let mut line = String::new();
    let read = io::stdin().read_line(&mut line).map_err(failed)?;
    Ok((read > 0).then(|| line.trim().chars().next().unwrap_or(' ')))
}
