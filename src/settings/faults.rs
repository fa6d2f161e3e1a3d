//! Injected faults: how they are written, and which requests get which.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use http::StatusCode;

use crate::error::{Error, ErrorKind, Result};
use crate::hash::sha256_hex;
use crate::settings::duration::parse_duration;

const SYNTAX: &str = "separate by commas: a status from 400 to 599 (429:0.1), cut:P (or drop:P), malformed:P, reset:P, close:1011:P, tool-json:P, unknown-tool:P, schema:P, length:P, refusal:P, empty:P, delay:200ms, delay:200ms:P, seed:N; P is a probability from 0 to 1, by default 1; or give none";

/// A fault that replaces or damages a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// An error response with this status.
    Status(StatusCode),
    /// The connection closes after half of the body.
    Cut,
    /// The body is complete and not valid JSON.
    Malformed,
    /// The connection closes before the response.
    Reset,
    /// A WebSocket session is closed with this code after half of what the client gets.
    Close(u16),
    /// The answer of the model is changed.
    Answer(AnswerFault),
}

/// A fault of a model, in a response that is valid HTTP and valid JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AnswerFault {
    /// The arguments of the first tool call are not valid JSON.
    ToolJson,
    /// The first tool call names a tool that the program does not have.
    UnknownTool,
    /// The content, or else the arguments of the first tool call, lack a required member.
    Schema,
    /// The answer ends in its middle, at the limit of tokens.
    Length,
    /// A refusal in place of the answer.
    Refusal,
    /// An answer without content.
    Empty,
}

impl AnswerFault {
    const ALL: [Self; 6] = [
        Self::ToolJson,
        Self::UnknownTool,
        Self::Schema,
        Self::Length,
        Self::Refusal,
        Self::Empty,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::ToolJson => "tool-json",
            Self::UnknownTool => "unknown-tool",
            Self::Schema => "schema",
            Self::Length => "length",
            Self::Refusal => "refusal",
            Self::Empty => "empty",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => f.write_str(status.as_str()),
            Self::Cut => f.write_str("cut"),
            Self::Malformed => f.write_str("malformed"),
            Self::Reset => f.write_str("reset"),
            Self::Close(code) => write!(f, "close:{code}"),
            Self::Answer(fault) => f.write_str(fault.name()),
        }
    }
}

/// The delay and the fault that one response gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Injection {
    pub(crate) delay: Duration,
    pub(crate) fault: Option<Fault>,
    /// Whether it is an error if the response cannot have the fault.
    pub(crate) is_required: bool,
}

impl Injection {
    /// The same without a fault that only a WebSocket session can have, unless that is required: then it is an error.
    pub(crate) fn for_http(self) -> Self {
        let is_possible = |fault: &Fault| self.is_required || !matches!(fault, Fault::Close(_));
        Self {
            fault: self.fault.filter(is_possible),
            ..self
        }
    }
}

/// Faults and delays, each with its probability.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Faults {
    seed: u64,
    faults: Vec<(Fault, f64)>,
    delays: Vec<(Duration, f64)>,
    is_required: bool,
}

impl Faults {
    /// The same faults; a response that cannot have its fault is an error.
    pub(crate) fn required(self) -> Self {
        Self {
            is_required: !self.faults.is_empty(),
            ..self
        }
    }

    /// The injection for a request key and the number of its request in the session, from 0. It depends on these, the
    /// seed and the configured faults only.
    pub(crate) fn injection(&self, key: &str, number: usize) -> Injection {
        let Self {
            seed, delays, faults, ..
        } = self;
        let draw = |purpose: &str| draw(*seed, key, number, purpose);
        let delay = delays
            .iter()
            .enumerate()
            .filter(|(index, (_, probability))| draw(&format!("delay {index}")) < *probability)
            .map(|(_, (delay, _))| *delay)
            .sum();
        let mut drawn = if faults.is_empty() { 1.0 } else { draw("fault") };
        // One number for all faults: at most one happens, and each as often as its probability says.
        let fault = faults.iter().find(|(_, probability)| {
            let is_drawn = drawn < *probability;
            drawn -= probability;
            is_drawn
        });
        Injection {
            delay,
            fault: fault.map(|(fault, _)| *fault),
            is_required: self.is_required,
        }
    }

    fn add(&mut self, item: &str) -> Result<(), String> {
        let (name, rest) = item
            .split_once(':')
            .map_or((item, None), |(name, rest)| (name, Some(rest)));
        let fault = match name {
            "cut" | "drop" => Fault::Cut,
            "malformed" => Fault::Malformed,
            "reset" => Fault::Reset,
            "seed" => {
                self.seed = rest
                    .and_then(|seed| seed.parse().ok())
                    .ok_or("a seed is an integer from 0, as in seed:7")?;
                return Ok(());
            }
            "delay" => {
                let rest = rest.ok_or("a delay needs a duration, as in delay:200ms")?;
                let (time, rest) = rest
                    .split_once(':')
                    .map_or((rest, None), |(time, rest)| (time, Some(rest)));
                let delay =
                    parse_duration(time).map_err(|_| format!("{time:?} is not a duration, as in 200ms, 1.5s or 1m"))?;
                self.delays.push((delay, probability(rest)?));
                return Ok(());
            }
            "close" => {
                let (code, probability_of_close) = match rest.and_then(|rest| rest.split_once(':')) {
                    Some((code, probability)) => (Some(code), Some(probability)),
                    None => (rest, None),
                };
                let code = code
                    .and_then(|code| code.parse().ok())
                    .filter(|code| is_close_code(*code));
                let code = code.ok_or("a close needs a code that a close frame can have, as in close:1011")?;
                self.faults
                    .push((Fault::Close(code), probability(probability_of_close)?));
                return Ok(());
            }
            name => answer_fault(name).map_or_else(|| error_status(name), |fault| Ok(Fault::Answer(fault)))?,
        };
        self.faults.push((fault, probability(rest)?));
        Ok(())
    }
}

fn answer_fault(name: &str) -> Option<AnswerFault> {
    AnswerFault::ALL.into_iter().find(|fault| fault.name() == name)
}

fn error_status(name: &str) -> Result<Fault, String> {
    let status: u16 = name.parse().map_err(|_| format!("unknown fault {name:?}"))?;
    let status = StatusCode::from_u16(status)
        .ok()
        .filter(|status| status.is_client_error() || status.is_server_error());
    Ok(Fault::Status(
        status.ok_or("the status of an error is from 400 to 599")?,
    ))
}

/// Whether a close frame can have this code ([RFC 6455](https://www.rfc-editor.org/rfc/rfc6455#section-7.4)).
fn is_close_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

impl FromStr for Faults {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut faults = Self::default();
        if text.trim() == "none" {
            return Ok(faults);
        }
        let invalid = |message: String| Error::new(ErrorKind::Settings, message).with_hint(SYNTAX);
        for item in text.split(',') {
            let item = item.trim();
            faults
                .add(item)
                .map_err(|reason| invalid(format!("cannot inject {item:?} in {text:?}: {reason}")))?;
        }
        let sum: f64 = faults.faults.iter().map(|(_, probability)| probability).sum();
        // The sum of decimal fractions may exceed 1 by a rounding error.
        if sum > 1.0 + 1e-9 {
            return Err(invalid(format!(
                "cannot inject {text:?}: a response gets at most one fault, and the probabilities add up to {sum}"
            )));
        }
        Ok(faults)
    }
}

/// Writes the faults in the syntax that is parsed, always with the seed.
impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (fault, probability) in &self.faults {
            write!(f, "{fault}:{probability},")?;
        }
        for (delay, probability) in &self.delays {
            write!(f, "delay:{delay:?}:{probability},")?;
        }
        write!(f, "seed:{}", self.seed)
    }
}

fn probability(text: Option<&str>) -> Result<f64, String> {
    let Some(text) = text else { return Ok(1.0) };
    text.parse()
        .ok()
        .filter(|probability| (0.0..=1.0).contains(probability))
        .ok_or_else(|| format!("{text:?} is not a probability from 0 to 1"))
}

/// A pseudorandom number from 0 to below 1, the same in every process.
fn draw(seed: u64, key: &str, number: usize, purpose: &str) -> f64 {
    const DIGITS: usize = 13;
    let hash = sha256_hex(format!("{seed}\n{key}\n{number}\n{purpose}").as_bytes());
    // 13 hex digits are 52 bits, which an `f64` holds exactly.
    let drawn = u64::from_str_radix(&hash[..DIGITS], 16).unwrap_or_default();
    drawn as f64 / (1_u64 << (4 * DIGITS)) as f64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn faults(text: &str) -> Faults {
        text.parse().unwrap()
    }

    #[test]
    fn an_invalid_item_is_reported_with_its_reason() {
        for (wrong, reason) in [
            ("429:1.5", "\"1.5\" is not a probability from 0 to 1"),
            ("429:NaN", "\"NaN\" is not a probability from 0 to 1"),
            ("cut:", "\"\" is not a probability from 0 to 1"),
            ("cut:0.1,429:much", "\"much\" is not a probability from 0 to 1"),
            ("200:0.1", "the status of an error is from 400 to 599"),
            ("1000", "the status of an error is from 400 to 599"),
            ("slow:0.1", "unknown fault \"slow\""),
            ("", "unknown fault \"\""),
            ("delay", "a delay needs a duration, as in delay:200ms"),
            ("delay:soon", "\"soon\" is not a duration"),
            ("delay:200", "\"200\" is not a duration"),
            ("seed:x", "a seed is an integer"),
            ("tool_json", "unknown fault \"tool_json\""),
            ("refusal:2", "\"2\" is not a probability from 0 to 1"),
            ("429:0.6,cut:0.5", "the probabilities add up to 1.1"),
        ] {
            let error = wrong.parse::<Faults>().unwrap_err();
            assert!(error.message().contains(reason), "{wrong}: {error}");
            assert!(error.hint().unwrap().contains("delay:200ms"), "{error}");
        }
        let error = "cut:0.1,429:2".parse::<Faults>().unwrap_err();
        assert!(
            error
                .message()
                .starts_with("cannot inject \"429:2\" in \"cut:0.1,429:2\""),
            "{error}"
        );
        assert!("429:0.1,500:0.2,502:0.7".parse::<Faults>().is_ok());
        assert_eq!(faults("none"), Faults::default());
    }

    #[test]
    fn each_fault_happens_with_its_probability() {
        let faults = faults("429:0.1,cut:0.05,500:0.25,delay:200ms:0.5,seed:3");
        let mut counts = BTreeMap::new();
        let mut delayed = 0;
        const REQUESTS: usize = 10_000;
        for request in 0..REQUESTS {
            let injection = faults.injection(&format!("key {}", request % 100), request / 100);
            *counts.entry(format!("{:?}", injection.fault)).or_insert(0) += 1;
            delayed += usize::from(!injection.delay.is_zero());
        }
        let is_near = |count: usize, probability: f64| {
            let (mean, spread) = (
                REQUESTS as f64 * probability,
                (REQUESTS as f64 * probability * (1.0 - probability)).sqrt(),
            );
            assert!(
                (count as f64 - mean).abs() < 4.0 * spread,
                "{count} of {REQUESTS} for {probability}"
            );
        };
        is_near(counts["Some(Status(429))"], 0.1);
        is_near(counts["Some(Cut)"], 0.05);
        is_near(counts["Some(Status(500))"], 0.25);
        is_near(counts["None"], 0.6);
        is_near(delayed, 0.5);
    }

    #[test]
    fn an_injection_depends_only_on_seed_key_and_request_number() {
        let injections = |text: &str, key: &str| -> Vec<Injection> {
            let faults = faults(text);
            (0..64).map(|number| faults.injection(key, number)).collect()
        };
        let first = injections("429:0.5", "a");
        assert_eq!(first, injections("429:0.5,seed:0", "a"));
        assert_ne!(first, injections("429:0.5,seed:1", "a"));
        assert_ne!(first, injections("429:0.5", "b"));
        // Constants, so that a new release does not draw differently.
        let hit: Vec<usize> = (0..16).filter(|number| first[*number].fault.is_some()).collect();
        assert_eq!(hit, [0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 15]);
        let both = faults("429,delay:1s").injection("a", 0);
        assert_eq!(
            (both.fault, both.delay),
            (
                Some(Fault::Status(StatusCode::TOO_MANY_REQUESTS)),
                Duration::from_secs(1)
            )
        );
        for fault in AnswerFault::ALL {
            let drawn = faults(fault.name()).injection("a", 0).fault;
            assert_eq!(drawn, Some(Fault::Answer(fault)));
        }
        assert_eq!(faults("cut:0").injection("a", 0), Injection::default());
        assert_eq!(Faults::default().injection("a", 0), Injection::default());
    }
}
