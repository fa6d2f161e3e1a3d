//! The name of the running test, and its scope.

use deunicode::deunicode;

use crate::error::Result;
use crate::hash::sha256_hex;
use crate::key::Scope;

/// The maximum length of a shortened folder name and of a shortened scope, without its hash, in bytes. Both are below what a
/// [`Scope`] may have.
const LONGEST_FOLDER: usize = 80;
const LONGEST_SCOPE: usize = 180;

/// Whether a function is in a documentation test. Its path contains a number that depends on the other documentation tests, or
/// is the same for all of them.
pub(super) fn is_in_doctest(function: &str) -> bool {
    let name_of_crate = function.split("::").next().unwrap_or_default();
    name_of_crate == "rust_out" || name_of_crate.starts_with("doctest_bundle_")
}

/// The scope of a test with this path: a folder for each module. Names that cannot be folders, because they are too long or
/// have other letters, are shortened and written in ASCII, with a hash that keeps them apart.
pub(super) fn scope_of(test: &str) -> Result<Scope> {
    let name = test.split("::").map(folder_of).collect::<Vec<_>>().join("/");
    Scope::new(&name).or_else(|_| {
        let begin = cut(&name, LONGEST_SCOPE).trim_end_matches('/');
        Scope::new(&format!("{begin}-{}", hash(test)))
    })
}

fn folder_of(name: &str) -> String {
    if Scope::new(name).is_ok() {
        return name.to_owned();
    }
    let is_portable = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let ascii = deunicode(name).replace(|letter| !is_portable(letter), "_");
    format!("{}-{}", cut(&ascii, LONGEST_FOLDER), hash(name))
}

/// The beginning of an ASCII text.
fn cut(ascii: &str, longest: usize) -> &str {
    &ascii[..ascii.len().min(longest)]
}

fn hash(text: &str) -> String {
    sha256_hex(text.as_bytes())[..8].to_owned()
}

/// Returns the path of the running test with its crate, such as `weather::tests::finds_the_capital`.
///
/// The test harness names the thread of a test after the test. So helpers, fixtures and parametrised cases get the name of
/// the test too. `function` is the path of a function `here` inside the caller: it has the name of the crate, and it names
/// the test where the thread has another name, such as the main thread or one of a runtime.
pub(super) fn test_path(function: &str, thread: Option<&str>) -> String {
    let is_name = |part: &&str| !part.starts_with('{') && !part.is_empty();
    let parts: Vec<&str> = function.split("::").filter(is_name).collect();
    let (_here, caller) = parts.split_last().unwrap_or((&"", &[]));
    let path: Vec<&str> = match (caller.first(), thread.filter(|name| is_path(name))) {
        (Some(name_of_crate), Some(test)) => std::iter::once(*name_of_crate).chain(test.split("::")).collect(),
        _ => caller.to_vec(),
    };
    path.iter()
        .map(|part| part.trim_start_matches("r#"))
        .collect::<Vec<_>>()
        .join("::")
}

/// Whether the name of a thread is the path of a function.
fn is_path(name: &str) -> bool {
    let is_identifier = |part: &str| {
        part.starts_with(|first: char| first.is_alphabetic() || first == '_')
            && part.chars().all(|letter| letter.is_alphanumeric() || letter == '_')
    };
    name != "main"
        && name
            .split("::")
            .all(|part| is_identifier(part.trim_start_matches("r#")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_of_a_test_has_a_scope_of_its_own() {
        let long = "case_of_a_name_with_many_words_".repeat(9);
        let deep = "module_with_a_long_name::".repeat(12);
        let tests = [
            "weather::tests::asks",
            "weather::köln",
            "weather::koln",
            "weather::bodies::aux",
            "天气::东京",
            &format!("weather::{long}"),
            &format!("weather::{deep}asks"),
            &format!("weather::{deep}answers"),
        ]
        .map(|test| scope_of(test).unwrap().to_string());
        insta::assert_snapshot!(tests.join("\n"), @r"
        weather/tests/asks
        weather/koln-72903358
        weather/koln
        weather/bodies-29a71163/aux-321f6814
        Tian_Qi-4d947325/Dong_Jing-95b3ec13
        weather/case_of_a_name_with_many_words_case_of_a_name_with_many_words_case_of_a_name_wit-c591dfdd
        weather/module_with_a_long_name/module_with_a_long_name/module_with_a_long_name/module_with_a_long_name/module_with_a_long_name/module_with_a_long_name/module_with_a_long_name/modu-c49ea011
        weather/module_with_a_long_name/module_with_a_long_name/module_with_a_long_name/module_with_a_long_name/module_with_a_long_name/module_with_a_long_name/module_with_a_long_name/modu-7246686b
        ");
    }

    #[test]
    fn the_path_of_a_function_has_no_closures() {
        for (function, test) in [
            ("weather::asks::here", "weather::asks"),
            ("weather::tests::asks::{{closure}}::here", "weather::tests::asks"),
            ("weather::r#try::{{closure}}::{{closure}}::here", "weather::try"),
        ] {
            for thread in [
                None,
                Some("main"),
                Some("tokio-rt-worker"),
                Some("tokio-runtime-worker"),
            ] {
                assert_eq!(test_path(function, thread), test);
            }
        }
    }

    #[test]
    fn documentation_tests_are_known_by_the_names_of_their_crates() {
        for (function, is_in) in [
            ("rust_out::main::here", true),
            ("doctest_bundle_2024::__doctest_0::main::here", true),
            ("weather::asks::here", false),
        ] {
            assert_eq!(is_in_doctest(function), is_in, "{function}");
        }
    }

    #[test]
    fn the_thread_names_the_test_that_calls_a_helper() {
        for (thread, test) in [
            ("tests::asks", "weather::tests::asks"),
            ("asks::case_2_paris", "weather::asks::case_2_paris"),
            ("r#try", "weather::try"),
        ] {
            assert_eq!(
                test_path("weather::support::session::{{closure}}::here", Some(thread)),
                test
            );
        }
    }
}
