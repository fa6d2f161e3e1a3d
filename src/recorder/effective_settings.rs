//! The settings in effect: those of the user or the engine, plus what the builder overrides.

use std::sync::Arc;

use tokio::sync::OnceCell;

use crate::engine::CacheEngine;
use crate::error::{Error, Result};
use crate::redaction::Redactor;
use crate::settings::{SaveErrors, Secrets, Settings};

/// Settings, and the redactor that they describe.
pub(super) struct EffectiveSettings {
    pub(super) settings: Settings,
    pub(super) redactor: Redactor,
}

/// What the builder sets besides the settings.
#[derive(Default)]
pub(super) struct Overrides {
    pub(super) secrets: Vec<String>,
    pub(super) save_errors: bool,
    pub(super) allow_secrets: bool,
}

impl Overrides {
    fn apply(&self, mut settings: Settings) -> Arc<EffectiveSettings> {
        if self.save_errors {
            settings.save_errors = SaveErrors::All;
        }
        if self.allow_secrets {
            settings.secrets = Secrets::Allow;
        }
        Arc::new(EffectiveSettings {
            redactor: Redactor::new(
                self.secrets.iter().cloned(),
                &settings.redaction,
                &settings.headers.keep,
            ),
            settings,
        })
    }
}

/// Where the settings of a session come from.
pub(super) struct SettingsSource {
    overrides: Overrides,
    loaded: OnceCell<Arc<EffectiveSettings>>,
}

impl SettingsSource {
    /// `settings` are `None` for a store, which is read before the first request.
    pub(super) fn new(settings: Option<Settings>, overrides: Overrides) -> Self {
        Self {
            loaded: OnceCell::new_with(settings.map(|settings| overrides.apply(settings))),
            overrides,
        }
    }

    /// The settings in effect. A store is read once.
    ///
    /// # Errors
    /// [`ErrorKind::Engine`](crate::ErrorKind::Engine) or [`ErrorKind::Settings`](crate::ErrorKind::Settings): the settings
    /// cannot be read.
    pub(super) async fn get(&self, engine: &dyn CacheEngine) -> Result<Arc<EffectiveSettings>> {
        let load = || async {
            let settings = match engine.extensions().get_settings().await? {
                Some(document) => Settings::from_yaml(&document, "the settings in the engine")?,
                None => engine.extensions().settings()?,
            };
            Ok::<_, Error>(self.overrides.apply(settings))
        };
        self.loaded.get_or_try_init(load).await.cloned()
    }
}
