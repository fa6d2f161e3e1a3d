//! The verdict of a controlled session.

use std::collections::{BTreeSet, HashMap};

use super::protocol::{Connection, ErrorText, Savings, SessionOutcome, Verdict};
use super::session::ControlledSession;
use crate::cassette::{Cassette, yaml};
use crate::cli::prices::{Prices, Usage, model_of};
use crate::cli::request_line::RequestLine;
use crate::engine::{CacheEngine, inline_bodies};
use crate::error::Result;
use crate::key::{RequestKey, Scope};
use crate::proxy::Connections;
use crate::recorder::{AnsweredRequest, RequestOutcome};

/// What happened in a session so far.
///
/// # Errors
/// The cassettes of the session cannot be listed.
pub(super) async fn verdict(
    session: &ControlledSession,
    in_progress: usize,
    connections: &Connections,
    prices: &Prices,
) -> Result<Verdict> {
    let recorded = session.recorder.session();
    let (summary, requests) = (recorded.summary(), recorded.requests());
    let (failures, dollars) = (recorded.failures(), saved_dollars(session, &requests, prices).await);
    Ok(Verdict {
        outcome: SessionOutcome::of(&summary),
        counts: summary.into(),
        failures: failures.iter().map(ErrorText::from).collect(),
        unused: unused(session, &requests)?,
        requests: requests.iter().map(RequestLine::from).collect(),
        live: since(&session.connections_before, connections),
        in_progress,
        saved: Savings {
            tokens: summary.tokens_saved,
            milliseconds: summary.milliseconds_saved,
            dollars,
        },
    })
}

/// The cassettes in the scopes of the session that no request has used; none if the session uses a cache.
fn unused(session: &ControlledSession, requests: &[AnsweredRequest]) -> Result<Vec<String>> {
    let Some(directory) = &session.directory else {
        return Ok(Vec::new());
    };
    let used: BTreeSet<(&Scope, &str)> = requests
        .iter()
        .filter_map(|request| request.key.as_ref())
        .map(|key| (key.scope(), key.short()))
        .collect();
    let mut scopes: BTreeSet<&Scope> = used.iter().map(|(scope, _)| *scope).collect();
    scopes.insert(&session.scope);
    let mut unused = Vec::new();
    for listed in scopes.into_iter().map(|scope| directory.list_scope(scope)) {
        let is_unused = |key: &RequestKey| !used.contains(&(key.scope(), key.short()));
        let names = listed?
            .into_iter()
            .filter(|listed| listed.key.as_ref().is_some_and(is_unused));
        unused.extend(names.map(|listed| listed.name));
    }
    Ok(unused)
}

/// The connections since the session was opened.
fn since(before: &[(String, usize, usize)], connections: &Connections) -> Vec<Connection> {
    let changed = connections.by_host().into_iter().filter_map(|(host, opened, refused)| {
        let earlier = before.iter().find(|earlier| earlier.0 == host);
        let (opened_before, refused_before) = earlier.map_or((0, 0), |earlier| (earlier.1, earlier.2));
        let (opened, refused) = (opened - opened_before, refused - refused_before);
        (opened + refused > 0).then_some(Connection { host, opened, refused })
    });
    changed.collect()
}

/// What the replayed responses have cost when they were recorded, in US dollars, as far as it is known.
async fn saved_dollars(session: &ControlledSession, requests: &[AnsweredRequest], prices: &Prices) -> f64 {
    let mut cassettes: HashMap<&RequestKey, Option<Cassette>> = HashMap::new();
    let mut dollars = 0.0;
    for request in requests {
        let (RequestOutcome::Replayed { index, .. }, Some(key)) = (&request.outcome, &request.key) else {
            continue;
        };
        if !cassettes.contains_key(key) {
            cassettes.insert(key, read(&*session.engine, key).await);
        }
        if let Some(Some(cassette)) = cassettes.get(key)
            && let Some(response) = cassette.responses.get(*index)
            && let Some(usage) = Usage::of(&cassette.request, response)
        {
            dollars += prices.cost(model_of(cassette).as_deref(), &usage).unwrap_or_default();
        }
    }
    dollars
}

/// A cassette; `None` if it cannot be read any more: the amount is only an estimate.
async fn read(engine: &dyn CacheEngine, key: &RequestKey) -> Option<Cassette> {
    let document = engine.get(key).await.ok()??;
    let location = engine.location_of(key);
    let cassette = yaml::read(&document, &location).ok()?;
    inline_bodies(engine, cassette, &location).await.ok()
}
