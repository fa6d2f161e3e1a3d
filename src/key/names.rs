//! Names of folders that every supported operating system accepts.

/// The file extension of cassettes.
pub(crate) const EXTENSION: &str = ".yaml";

/// The folder of large bodies. An endpoint or a scope cannot have this name.
pub(crate) const BODIES: &str = "bodies";

/// Names that Windows reserves for devices, with or without an extension.
const DEVICES: [&str; 24] = [
    "con", "prn", "aux", "nul", "com0", "com1", "com2", "com3", "com4", "com5", "com6", "com7", "com8", "com9", "lpt0",
    "lpt1", "lpt2", "lpt3", "lpt4", "lpt5", "lpt6", "lpt7", "lpt8", "lpt9",
];

/// Whether a cassette directory reserves the name of a folder, or Windows does.
pub(super) fn is_reserved(folder: &str) -> bool {
    let folder = folder.to_ascii_lowercase();
    let device = folder.split('.').next().unwrap_or_default();
    folder == BODIES || folder.ends_with(EXTENSION) || DEVICES.contains(&device)
}

/// Whether the characters of a folder name are allowed everywhere: ASCII letters, digits, `_`, `-`, and dots that are
/// neither first (hidden) nor last (dropped by Windows).
pub(super) fn has_portable_characters(folder: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    !folder.is_empty() && folder.bytes().all(is_allowed) && !folder.starts_with('.') && !folder.ends_with('.')
}

#[cfg(test)]
mod tests {
    use crate::cassette::RecordedRequest;
    use crate::key::{RequestKey, Scope};
    use crate::settings::matching::Matching;

    /// The rules of Windows (reserved names and characters, dots and spaces at the end), macOS and Linux (separators, NUL,
    /// 255 bytes), git (`.git`) and case-insensitive file systems.
    fn is_accepted_everywhere(name: &str) -> bool {
        let upper = name.to_uppercase();
        let base = upper.split('.').next().unwrap_or_default().trim_end();
        let is_numbered_device = |device: &str| {
            base.strip_prefix(device)
                .is_some_and(|number| number.chars().count() == 1 && number.contains(|c: char| c.is_numeric()))
        };
        let is_device = ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$"].contains(&base)
            || is_numbered_device("COM")
            || is_numbered_device("LPT");
        let is_character = |character: char| !character.is_control() && !r#"<>:"/\|?*"#.contains(character);
        (1..=255).contains(&name.len())
            && name.chars().all(is_character)
            && !name.ends_with(['.', ' '])
            && !name.starts_with('.')
            && !is_device
    }

    const NAMES: [&str; 40] = [
        "con",
        "CON",
        "Con",
        "prn",
        "aux",
        "nul",
        "NUL",
        "com1",
        "COM9",
        "com0",
        "lpt1",
        "lpt9",
        "lpt0",
        "com\u{b9}",
        "con.txt",
        "nul.",
        "conin$",
        "clock$",
        "a.",
        "a..",
        "a ",
        " a",
        ".",
        "..",
        ".git",
        ".a",
        "a:b",
        "a*b",
        "a?b",
        "a\\b",
        "a|b",
        "<a>",
        "a\"b",
        "a\u{0}",
        "a\u{7f}",
        "\u{e9}",
        "e\u{301}",
        "bodies",
        "Bodies",
        "settings.yaml",
    ];

    #[test]
    fn every_operating_system_accepts_the_names_of_files_and_folders() {
        let long = "x".repeat(3000);
        let names = NAMES.iter().copied().chain([&*long]);
        for name in names {
            if let Ok(scope) = Scope::new(name) {
                assert!(is_accepted_everywhere(scope.as_str()), "{name:?}");
            }
            let encoded = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC).to_string();
            for path in [
                format!("/v1/{encoded}"),
                format!("/{encoded}"),
                format!("/v1/{encoded}/v2"),
                format!("/v1/{name}"),
                format!("/v1/{encoded}/{encoded}/{encoded}"),
                format!("/v1/files/{encoded}"),
                format!("/v1/_/{encoded}"),
            ] {
                for method in ["GET", "POST", "CON"] {
                    for body in [String::new(), serde_json::json!({ "prompt": name }).to_string()] {
                        let request = RecordedRequest::new(method, &path, body);
                        let key = RequestKey::of(&request, &Scope::root(), &Matching::default());
                        let file = key.name() + super::EXTENSION;
                        assert!(file.split('/').count() == 2 && file.len() < 200, "{path}: {file}");
                        assert!(file.split('/').all(is_accepted_everywhere), "{path}: {file}");
                        assert!(!super::is_reserved(key.endpoint()), "{path}: {file}");
                        assert_eq!(file, file.to_lowercase(), "{path}");
                    }
                }
            }
        }
    }

    #[test]
    fn devices_are_reserved_whatever_their_case_and_extension() {
        for (name, reserved) in [
            ("con", true),
            ("Lpt9.x", true),
            ("bodies", true),
            ("x.YAML", true),
            ("console", false),
            ("com", false),
            ("com10", false),
        ] {
            assert_eq!(super::is_reserved(name), reserved, "{name}");
        }
    }
}
