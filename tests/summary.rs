//! Lists the tests that were skipped. It has no tests: cargo runs it after the other test binaries, in alphabetical
//! order.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

#[path = "suite/support/skip.rs"]
#[allow(dead_code)]
mod skip;

/// Features with tests, and whether they are on.
const FEATURES: [(&str, bool); 9] = [
    ("cli", cfg!(feature = "cli")),
    ("insta", cfg!(feature = "insta")),
    ("metrics", cfg!(feature = "metrics")),
    ("middleware", cfg!(feature = "middleware")),
    ("object-store", cfg!(feature = "object-store")),
    ("redis", cfg!(feature = "redis")),
    ("schemars", cfg!(feature = "schemars")),
    ("sql", cfg!(feature = "sql")),
    ("tower", cfg!(feature = "tower")),
];

fn main() {
    // A test runner that asks for the tests finds none.
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    let off: Vec<&str> = FEATURES
        .iter()
        .filter(|(_, is_on)| !is_on)
        .map(|(name, _)| *name)
        .collect();
    if !off.is_empty() {
        println!(
            "\nnot built: the tests of the features {}: cargo test --all-features",
            off.join(", ")
        );
    }
    print_skipped();
}

/// Prints what was missing, with the tests that were skipped for it.
fn print_skipped() {
    let list = skip::list();
    let Ok(lines) = std::fs::read_to_string(&list) else {
        return;
    };
    std::fs::remove_file(list).unwrap();
    let mut tests: std::collections::BTreeMap<&str, std::collections::BTreeSet<&str>> = Default::default();
    for (test, missing) in lines.lines().filter_map(|line| line.split_once('\t')) {
        tests.entry(missing).or_default().insert(test);
    }
    println!("\nskipped, because something is missing:");
    for (missing, tests) in tests {
        println!("  {missing}");
        for test in tests {
            println!("    {test}");
        }
    }
}
