//! Waiting for a batch job or a file: polls with growing delays, which a replay skips.

use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::request::path;
use super::{BatchJob, Client, File, batch, files};
use crate::error::{Error, ErrorKind, Result};
use crate::http::Request;

/// How long and how often to poll. A `Duration` converts to this type: it is the maximum time.
///
/// The first delay is 1 second, and each further delay is 1.5 times as long, up to 30 seconds.
///
/// A delay after a replayed response is not waited for, but it counts: a replay ends at once, also if the recording ends
/// before the job does.
///
/// ```no_run
/// use std::time::Duration;
/// use mistral_cassette::client::{BatchRequest, ChatRequest, Client, Polling};
///
/// # async fn example(client: Client) -> mistral_cassette::Result<()> {
/// let job = BatchRequest::new("/v1/chat/completions")
///     .request("first", ChatRequest::new("mistral-small-latest").user("Hello"));
/// let job = client.create_batch_job(job).await?.wait_until_done(&client, Duration::from_secs(3600)).await?;
/// let patient = Polling::at_most(Duration::from_secs(86_400)).max_interval(Duration::from_secs(300));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Polling {
    at_most: Duration,
    interval: Duration,
    max_interval: Duration,
}

impl Polling {
    /// Sets the maximum time. No poll is sent after it.
    pub fn at_most(time: Duration) -> Self {
        Self {
            at_most: time,
            interval: Duration::from_secs(1),
            max_interval: Duration::from_secs(30),
        }
    }

    /// Sets the first delay: at least a millisecond.
    #[must_use]
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval.max(Duration::from_millis(1));
        self
    }

    /// Sets the maximum delay: at least a millisecond.
    #[must_use]
    pub fn max_interval(mut self, interval: Duration) -> Self {
        self.max_interval = interval.max(Duration::from_millis(1));
        self
    }
}

impl From<Duration> for Polling {
    fn from(time: Duration) -> Self {
        Self::at_most(time)
    }
}

/// What a poll has found.
enum Progress<T> {
    Done(T),
    /// The state, for the message of an error.
    Waiting(String),
}

impl Client {
    /// Polls a batch job until its state is final, see [`BatchJobStatus::is_done`](super::BatchJobStatus::is_done). A
    /// failed or cancelled job is not an error.
    ///
    /// # Errors
    /// [`ErrorKind::Upstream`] with [`Error::is_timeout`] if the job is not done in time, and the errors of
    /// [`embeddings`](Self::embeddings).
    pub async fn wait_for_batch_job(&self, id: &str, polling: impl Into<Polling>) -> Result<BatchJob> {
        let request = Request::get(&path(batch::JOBS, id, "")?)?;
        self.poll(
            request,
            &polling.into(),
            &format!("batch job {id}"),
            |job: Result<BatchJob>| {
                let job = job?;
                Ok(if job.status.is_done() {
                    Progress::Done(job)
                } else {
                    Progress::Waiting(job.status.to_string())
                })
            },
        )
        .await
    }

    /// Polls a file until the API finds it. A file that a job has just created, or another region has received, may be
    /// missing at first: as long as the status is 404, the file is polled again.
    ///
    /// # Errors
    /// [`ErrorKind::Upstream`] with [`Error::is_timeout`] if the file is not there in time, and the errors of
    /// [`embeddings`](Self::embeddings).
    pub async fn wait_for_file(&self, id: &str, polling: impl Into<Polling>) -> Result<File> {
        let request = Request::get(&path(files::FILES, id, "")?)?;
        self.poll(
            request,
            &polling.into(),
            &format!("file {id}"),
            |file: Result<File>| match file {
                Err(error) if error.kind() == ErrorKind::Api && error.status() == Some(404) => {
                    Ok(Progress::Waiting("not found".to_owned()))
                }
                file => file.map(Progress::Done),
            },
        )
        .await
    }

    async fn poll<T, Done>(
        &self,
        request: Request,
        polling: &Polling,
        what: &str,
        progress: impl Fn(Result<T>) -> Result<Progress<Done>>,
    ) -> Result<Done>
    where
        T: DeserializeOwned,
    {
        let started = Instant::now();
        let (mut waited, mut delay, mut polls) = (Duration::ZERO, polling.interval, 0_u32);
        loop {
            let (answer, was_sent) = self.fetch_and_tell(request.clone()).await;
            polls += 1;
            let state = match progress(answer)? {
                Progress::Done(done) => return Ok(done),
                Progress::Waiting(state) => state,
            };
            delay = delay.min(polling.max_interval);
            waited = waited.saturating_add(delay);
            if waited.max(started.elapsed()) > polling.at_most {
                return Err(not_done(what, &state, polls, polling.at_most, was_sent));
            }
            if was_sent {
                tokio::time::sleep(delay).await;
            }
            delay = delay.saturating_mul(3) / 2;
        }
    }
}

fn not_done(what: &str, state: &str, polls: u32, limit: Duration, was_sent: bool) -> Error {
    let message = format!("{what} is not done after {limit:?}: the state in the last of {polls} polls was {state:?}");
    let hint = if was_sent {
        "allow more time"
    } else {
        "the last responses are replayed: allow as much time as for the recording, or record the polls again until the last state is final"
    };
    Error::new(ErrorKind::Upstream, message)
        .with_timed_out(true)
        .with_hint(hint)
}

impl BatchJob {
    /// Polls this job until its state is final, see [`Client::wait_for_batch_job`].
    ///
    /// # Errors
    /// As [`Client::wait_for_batch_job`].
    pub async fn wait_until_done(&self, client: &Client, polling: impl Into<Polling>) -> Result<Self> {
        client.wait_for_batch_job(&self.id, polling).await
    }
}

impl File {
    /// Polls this file until the API finds it, see [`Client::wait_for_file`].
    ///
    /// # Errors
    /// As [`Client::wait_for_file`].
    pub async fn wait_until_done(&self, client: &Client, polling: impl Into<Polling>) -> Result<Self> {
        client.wait_for_file(&self.id, polling).await
    }
}
