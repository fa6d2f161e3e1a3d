//! The corpus: recorded traffic of the real API, which is not part of this repository.

use std::path::{Path, PathBuf};

use super::skip::skip;

/// Its path; `None`, and the test is reported as skipped, where it is not here.
pub fn corpus() -> Option<PathBuf> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus/mistral.jsonl");
    if corpus.is_file() {
        return Some(corpus);
    }
    skip(
        "the corpus of recorded traffic is not here",
        "it is not public; elsewhere these tests cannot run",
    );
    None
}
