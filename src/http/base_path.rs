//! The base path in a URL of a caller.

/// Returns the length of the base URL's path, for example of a gateway: the part of the path before `/v1/` or `/v2/`.
///
/// The other front ends know their base URL. Here the caller's URL includes it, and the request key must not.
pub(crate) fn base_path_len(path: &str) -> usize {
    ["/v1/", "/v2/"]
        .iter()
        .filter_map(|version| path.find(version))
        .min()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_path_ends_before_the_version() {
        for (path, base) in [
            ("/v1/models", ""),
            ("/mistral/v1/models", "/mistral"),
            ("/mistral/v2/a/v1/b", "/mistral"),
            ("/models", ""),
        ] {
            assert_eq!(&path[..base_path_len(path)], base, "{path}");
        }
    }
}
