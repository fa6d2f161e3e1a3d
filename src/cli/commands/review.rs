//! `review`: steps through the new recordings of a refresh.

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::Arc;

use console::{Key, Term};

use crate::cassette::{Cassette, yaml};
use crate::cli::change::{Change, compare};
use crate::cli::refresh::{Changes, Entry, Journal};
use crate::cli::store::Store;
use crate::cli::{SUCCESS, count, print, print_differences, runtime, wrong};
use crate::diff::Difference;
use crate::engine::{self, CacheEngine, DirectoryEngine, inline_bodies};
use crate::error::{Error, ErrorKind, Result};
use crate::key::RequestKey;
use crate::settings::Settings;

/// How many lines of differences are shown before one asks for all.
const LINES_SHOWN: usize = 40;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The cassette directory.
    #[arg(long, value_name = "DIR", default_value = "cassettes")]
    dir: String,
    /// Accept all, without asking.
    #[arg(long, conflicts_with = "reject_all")]
    accept_all: bool,
    /// Reject all, without asking.
    #[arg(long)]
    reject_all: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let store = Store::open(&arguments.dir)?;
    let Some(directory) = &store.directory else {
        return Err(Error::new(
            ErrorKind::Settings,
            "review needs a cassette directory, and this is a cache",
        ));
    };
    let Some(journal) = Journal::of(directory.root())? else {
        print("there is nothing to review\n")?;
        return Ok(SUCCESS);
    };
    if !journal.head.for_review {
        return Err(Error::new(
            ErrorKind::Settings,
            format!(
                "the refresh that began at {} was not asked for with --review",
                journal.head.at
            ),
        )
        .with_hint("mistral-cassette refresh goes on with it; what it has changed is in git's hands"));
    }
    let decide: fn(&Chain) -> Result<Decision> = match (arguments.accept_all, arguments.reject_all) {
        (true, _) => |_| Ok(Decision::Accept),
        (_, true) => |_| Ok(Decision::Reject),
        _ => ask,
    };
    runtime()?.block_on(async {
        let review = Review {
            aside: Arc::new(DirectoryEngine::new(Journal::pending(directory.root()))),
            settings: store.settings().await?,
            engine: store.engine.clone(),
            journal,
        };
        let chains = review.chains().await?;
        let all: usize = chains.iter().map(|chain| chain.members.len()).sum();
        let (mut accepted, mut rejected, mut seen) = (0, 0, 0);
        for chain in &chains {
            print_differences(&chain.text(seen, all, Some(LINES_SHOWN)))?;
            seen += chain.members.len();
            match decide(chain)? {
                Decision::Accept => {
                    review.accept(chain).await?;
                    accepted += chain.members.len();
                }
                Decision::Reject => {
                    review.reject(chain).await?;
                    rejected += chain.members.len();
                }
                Decision::Skip => {}
                Decision::Quit => break,
            }
        }
        let left = all - accepted - rejected;
        print(&format!("{accepted} accepted, {rejected} rejected, {left} left\n"))?;
        if left > 0 {
            return Ok(wrong());
        }
        review.end()?;
        Ok(SUCCESS)
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Decision {
    Accept,
    Reject,
    Skip,
    Quit,
}

/// Recordings that follow from each other: to have one of them new and another one old would break the chain.
#[derive(Default)]
struct Chain {
    members: Vec<Pending>,
}

/// A new recording that waits.
struct Pending {
    entry: Entry,
    /// `None` when what it was is not there any more.
    old: Option<Cassette>,
    new: Cassette,
    key: RequestKey,
}

impl Pending {
    /// Whether its request, and so its key, is another one; a person may have given its file another name.
    fn is_moved(&self) -> bool {
        self.entry.key().is_none_or(|old| old.short() != self.key.short())
    }
}

impl Chain {
    fn text(&self, seen: usize, all: usize, most_lines: Option<usize>) -> String {
        let mut text = String::new();
        for (at, pending) in self.members.iter().enumerate() {
            let change = match &pending.old {
                Some(old) => compare(&old.responses, &pending.new.responses),
                None => compare(&[], &pending.new.responses),
            };
            let Change { grade, differences } = change;
            text.push_str(&format!(
                "\n{} of {all}  {}: {grade}\n",
                seen + at + 1,
                pending.entry.name
            ));
            if pending.is_moved() {
                text.push_str(&format!("    asked otherwise now: {}\n", pending.key.file_name()));
            }
            let lines: Vec<String> = differences.iter().flat_map(Difference::lines).collect();
            let shown = most_lines.unwrap_or(lines.len());
            for line in lines.iter().take(shown) {
                text.push_str(&format!("    {line}\n"));
            }
            if lines.len() > shown {
                text.push_str(&format!("    … {} more\n", count(lines.len() - shown, "line")));
            }
        }
        text
    }
}

/// Asks a person, by a key at a terminal, else by a line.
fn ask(chain: &Chain) -> Result<Decision> {
    let them = match chain.members.len() {
        1 => String::new(),
        number => format!(" these {number}, which follow from each other"),
    };
    loop {
        print(&format!(
            "[a]ccept, [r]eject, [s]kip{them}, [d] whole difference, [q]uit: "
        ))?;
        let decision = match pressed()? {
            Some('a' | 'y') => Decision::Accept,
            Some('r' | 'n') => Decision::Reject,
            Some('s') => Decision::Skip,
            None | Some('q') => Decision::Quit,
            Some('d') => {
                print_differences(&format!("\n{}", chain.text(0, chain.members.len(), None)))?;
                continue;
            }
            Some(_) => {
                print("\n")?;
                continue;
            }
        };
        print("\n")?;
        return Ok(decision);
    }
}

/// The next key; `None` when there is no more to come.
fn pressed() -> Result<Option<char>> {
    let failed = |error| Error::new(ErrorKind::Io, "the answer cannot be read").with_source(error);
    if io::stdin().is_terminal() {
        return match Term::stdout().read_key().map_err(failed)? {
            Key::Char(key) => Ok(Some(key)),
            Key::Escape | Key::CtrlC => Ok(None),
            _ => Ok(Some(' ')),
        };
    }
    let mut line = String::new();
    let read = io::stdin().read_line(&mut line).map_err(failed)?;
    Ok((read > 0).then(|| line.trim().chars().next().unwrap_or(' ')))
}

struct Review {
    engine: Arc<dyn CacheEngine>,
    aside: Arc<dyn CacheEngine>,
    settings: Settings,
    journal: Journal,
}

impl Review {
    /// What waits, in chains.
    async fn chains(&self) -> Result<Vec<Chain>> {
        let mut chains: Vec<Chain> = Vec::new();
        for entry in &self.journal.entries {
            let Some(key) = entry.kept_in(&*self.aside).await? else {
                continue;
            };
            let Some(new) = self.read(&*self.aside, &key).await? else {
                continue;
            };
            let old = match entry.key() {
                Some(old) => self.read(&*self.engine, &old).await?,
                None => None,
            };
            let pending = Pending {
                entry: entry.clone(),
                old,
                new,
                key,
            };
            let touches = |changes: &Changes, other: &Pending| {
                other.is_moved() && other.old.as_ref().is_some_and(|old| changes.touch(&old.request))
            };
            let belongs = |chain: &Chain| {
                chain
                    .members
                    .iter()
                    .any(|other| touches(&other.entry.changes, &pending) || touches(&pending.entry.changes, other))
            };
            let (mine, others) = chains.into_iter().partition::<Vec<_>, _>(belongs);
            let mut members: Vec<Pending> = mine.into_iter().flat_map(|chain| chain.members).collect();
            members.push(pending);
            chains = others;
            chains.push(Chain { members });
        }
        Ok(chains)
    }

    /// A cassette with its bodies.
    async fn read(&self, engine: &dyn CacheEngine, key: &RequestKey) -> Result<Option<Cassette>> {
        let Some(document) = engine.get(key).await? else {
            return Ok(None);
        };
        let place = engine.location_of(key);
        let cassette = yaml::read(&document, &place)?;
        inline_bodies(engine, cassette, &place).await.map(Some)
    }

    async fn accept(&self, chain: &Chain) -> Result<()> {
        for pending in &chain.members {
            let mut cassette = pending.new.clone();
            // The new file first: there is never a moment with neither.
            engine::write_cassette(&*self.engine, &pending.key, &mut cassette, None, &self.settings).await?;
            pending.entry.leave(&*self.engine, &pending.key).await?;
            if let Some((now, _)) = pending.entry.now.as_ref().filter(|_| pending.is_moved()) {
                // A refresh that goes on does not ask for it once more under its new name.
                self.journal.add(Entry {
                    name: now.clone(),
                    now: None,
                    changes: Changes::default(),
                })?;
            }
        }
        self.close(chain, |entry| entry.changes.clone()).await
    }

    async fn reject(&self, chain: &Chain) -> Result<()> {
        // What was goes on to be true: nothing follows from the new answers.
        self.close(chain, |_| Changes::default()).await
    }

    /// Takes a chain off what waits.
    async fn close(&self, chain: &Chain, changes: impl Fn(&Entry) -> Changes) -> Result<()> {
        for pending in &chain.members {
            self.journal.add(Entry {
                name: pending.entry.name.clone(),
                now: None,
                changes: changes(&pending.entry),
            })?;
            self.aside.remove(&pending.key).await?;
        }
        Ok(())
    }

    /// Nothing waits any more.
    fn end(self) -> Result<()> {
        if self.journal.is_finished {
            return self.journal.remove();
        }
        print("the refresh was broken off: the same command goes on with it\n")
    }
}
