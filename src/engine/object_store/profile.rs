//! Reads a profile of `~/.aws`: keys and region.

use std::env;
use std::path::{Path, PathBuf};

use object_store::aws::AwsCredential;

use crate::error::{Error, ErrorKind, Result};

/// The values of a profile.
#[derive(Default)]
pub(super) struct Profile {
    pub(super) credential: Option<AwsCredential>,
    pub(super) region: Option<String>,
}

/// Reads the profile `AWS_PROFILE`, or `default`, which need not exist.
///
/// # Errors
/// [`ErrorKind::Settings`]: the profile `AWS_PROFILE` has no keys in the files.
pub(super) fn read() -> Result<Profile> {
    let name = env::var("AWS_PROFILE").ok().filter(|name| !name.is_empty());
    let credentials = text("AWS_SHARED_CREDENTIALS_FILE", "credentials");
    let config = text("AWS_CONFIG_FILE", "config");
    let profile = profile(name.as_deref().unwrap_or("default"), &credentials, &config);
    match name {
        Some(name) if profile.credential.is_none() => Err(Error::new(
            ErrorKind::Settings,
            format!("the profile {name:?} of AWS_PROFILE has no keys in ~/.aws/credentials"),
        )
        .with_hint(format!(
            "for a profile with a sign-in or a role: eval \"$(aws configure export-credentials --profile {name} --format env)\""
        ))),
        _ => Ok(profile),
    }
}

/// Reads a file. A file that does not exist is empty.
fn text(variable: &str, file: &str) -> String {
    let path = match env::var_os(variable) {
        Some(path) => Some(PathBuf::from(path)),
        None => env::home_dir().map(|home| home.join(Path::new(".aws")).join(file)),
    };
    path.and_then(|path| std::fs::read_to_string(path).ok())
        .unwrap_or_default()
}

fn profile(name: &str, credentials: &str, config: &str) -> Profile {
    let in_config = if name == "default" {
        name.to_owned()
    } else {
        format!("profile {name}")
    };
    let value = |wanted: &str| value(credentials, name, wanted).or_else(|| self::value(config, &in_config, wanted));
    let keys = value("aws_access_key_id").zip(value("aws_secret_access_key"));
    Profile {
        credential: keys.map(|(key_id, secret_key)| AwsCredential {
            key_id,
            secret_key,
            token: value("aws_session_token"),
        }),
        region: value("region"),
    }
}

/// Returns the value of `wanted = …` in `[section]`.
fn value(text: &str, section: &str, wanted: &str) -> Option<String> {
    let mut lines = text.lines().map(str::trim);
    let is_section = |line: &str| {
        let name = line.strip_prefix('[').and_then(|line| line.split_once(']'));
        name.is_some_and(|(name, _)| name.trim() == section)
    };
    lines.by_ref().find(|line| is_section(line))?;
    lines
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once('='))
        .find(|(name, _)| name.trim() == wanted)
        .map(|(_, value)| value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_read_from_both_files() {
        let credentials = "# mine\n[other]\naws_access_key_id=no\n\n[ default ]\naws_access_key_id = id\n\
            aws_secret_access_key = a=b+/==\n[ci]\naws_access_key_id = ci\naws_secret_access_key=s\naws_session_token=t\n";
        let config = "[default]\nregion = eu-west-3\n[profile ci]\nregion=us-east-2\n[profile role]\nrole_arn = x\n";
        let default = profile("default", credentials, config);
        let keys = default.credential.unwrap();
        assert_eq!(
            (keys.key_id.as_str(), keys.secret_key.as_str(), keys.token),
            ("id", "a=b+/==", None)
        );
        assert_eq!(default.region.as_deref(), Some("eu-west-3"));
        let ci = profile("ci", credentials, config);
        assert_eq!(ci.credential.unwrap().token.as_deref(), Some("t"));
        assert_eq!(ci.region.as_deref(), Some("us-east-2"));
        for name in ["role", "none", "other"] {
            assert!(profile(name, credentials, config).credential.is_none(), "{name}");
        }
    }
}
