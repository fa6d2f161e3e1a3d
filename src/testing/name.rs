//! The name of the running test.

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
