//! The corpus: recorded traffic of the real API, which is not part of this repository.

use std::path::{Path, PathBuf};

use super::process::aloud;

/// Where it is; when it is not here, that is said even where the output of tests is captured.
pub fn corpus() -> Option<PathBuf> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus/mistral.jsonl");
    if corpus.is_file() {
        return Some(corpus);
    }
    let place = corpus.display();
    aloud(&format!(
        "SKIPPED: the corpus of recorded traffic is not here ({place})\n"
    ));
    None
}
