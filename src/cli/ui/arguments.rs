//! The options of the live view, and the view that they ask for.

use std::sync::Arc;

use clap::Args;

use super::server::LiveView;
use crate::cli::proxy_session::ProxyArguments;
use crate::engine::CacheEngine;
use crate::error::Result;
use crate::proxy::Proxy;
use crate::recorder::{Recorder, RequestListener};

/// The options of the live view.
#[derive(Args, Clone)]
pub(crate) struct UiArguments {
    /// Serve a page to browsers on this machine that shows the requests as they are answered (docs/live-view.md).
    #[arg(long)]
    ui: bool,
    /// The port of that page on 127.0.0.1 [default: any free port].
    #[arg(long, value_name = "PORT", requires = "ui")]
    ui_port: Option<u16>,
}

impl UiArguments {
    /// Opens the port of the live view, if it is wanted.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`](crate::ErrorKind::Settings): the port is in use.
    pub(crate) async fn open(&self) -> Result<Ui> {
        Ok(Ui(match self.ui {
            true => Some(LiveView::open(self.ui_port.unwrap_or_default()).await?),
            false => None,
        }))
    }
}

/// The live view of a session, if it is wanted.
pub(crate) struct Ui(Option<LiveView>);

impl Ui {
    /// What gets the requests of the proxy.
    pub(crate) fn listener(&self) -> Option<Arc<dyn RequestListener>> {
        self.0.as_ref().map(LiveView::listener)
    }

    /// Serves the page of a proxy that records in this engine. Returns its address.
    ///
    /// # Errors
    /// The store or the price table cannot be opened.
    pub(crate) fn serve(
        &mut self,
        proxy: &Proxy,
        arguments: &ProxyArguments,
        engine: Arc<dyn CacheEngine>,
    ) -> Result<Option<String>> {
        let Some(view) = &mut self.0 else { return Ok(None) };
        view.serve(proxy, arguments, engine)?;
        Ok(Some(view.url()))
    }

    /// Says to all browsers that the session has ended, and stops.
    pub(crate) async fn end(self, recorder: &Recorder) {
        if let Some(view) = self.0 {
            view.end(recorder).await;
        }
    }
}
