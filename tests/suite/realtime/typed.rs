//! Sessions of the typed client.

use futures_util::{SinkExt as _, StreamExt as _};
use mistral_cassette::client::{
    Client, RealtimeSpeechRequest, RealtimeTranscription, RealtimeTranscriptionRequest, SpeechEvent, TranscriptionEvent,
};
use mistral_cassette::{DirectoryEngine, ErrorKind, Mode, Recorder, Result};

use super::{NOWHERE, audio, cassettes};
use crate::support::KEY;
use crate::support::realtime::Realtime;

fn client(directory: &std::path::Path, mode: Mode, upstream: &str) -> Client {
    let recorder = Recorder::builder(DirectoryEngine::new(directory));
    let recorder = recorder.mode(mode).allow_record_in_ci().build().unwrap();
    let client = Client::builder().base_url(upstream).api_key(KEY).recorder(recorder);
    client.build().unwrap()
}

async fn open(client: &Client) -> Result<RealtimeTranscription> {
    let request = RealtimeTranscriptionRequest::new("voxtral").audio_format("pcm_s16le", 16_000);
    client.realtime_transcription(request).await
}

/// The text of some audio, sent in frames of this size by another task than the one that receives.
async fn transcribe(client: &Client, sound: &[u8], frame: usize) -> Result<String> {
    let (mut sink, mut events) = open(client).await?.split();
    let frames: Vec<bytes::Bytes> = sound.chunks(frame).map(bytes::Bytes::copy_from_slice).collect();
    let end = async {
        for frame in frames {
            sink.send(frame).await?;
        }
        sink.flush().await
    };
    let mut text = String::new();
    let mut end = Box::pin(end);
    loop {
        tokio::select! {
            // If the session has ended, its events say why.
            _ = &mut end => break,
            event = events.next() => {
                if let Some(TranscriptionEvent::TextDelta { text: delta, .. }) = event.transpose()? {
                    text.push_str(&delta);
                }
            }
        }
    }
    drop(end);
    let mut session = sink.reunite(events).unwrap();
    session.end().await?;
    while let Some(event) = session.next().await? {
        match event {
            TranscriptionEvent::TextDelta { text: delta, .. } => text.push_str(&delta),
            TranscriptionEvent::Done(done) => {
                assert_eq!(done.text, text);
                break;
            }
            _ => {}
        }
    }
    session.close().await?;
    Ok(text)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transcription_of_the_typed_client_replays_and_a_miss_is_its_error() {
    let (directory, server) = (tempfile::tempdir().unwrap(), Realtime::start().await);
    let sound = audio(7, 3);
    let recording = client(directory.path(), Mode::Record, &server.url);
    let text = transcribe(&recording, &sound, 1000).await.unwrap();
    assert!(!text.is_empty());
    // The session is saved when `close` has returned.
    assert_eq!(cassettes(directory.path()).len(), 1);
    let unrecorded = Client::builder().base_url(&server.url).api_key(KEY).build().unwrap();
    assert_eq!(transcribe(&unrecorded, &sound, 1000).await.unwrap(), text);
    drop(server);
    let replaying = client(directory.path(), Mode::Strict, NOWHERE);
    assert_eq!(transcribe(&replaying, &sound, 333).await.unwrap(), text);
    let error = transcribe(&replaying, &audio(8, 3), 1000).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Miss, "{error}");
    assert!(error.message().contains("differs at byte 0"), "{error}");
    let summary = replaying.recorder().unwrap().session().summary();
    assert_eq!((summary.replayed, summary.missed), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn speech_of_the_typed_client_replays() {
    let (directory, server) = (tempfile::tempdir().unwrap(), Realtime::start().await);
    let speak = async |client: Client| {
        let mut session = client
            .realtime_speech(RealtimeSpeechRequest::new("voxtral-tts"))
            .await?;
        session.send_text("Bonjour, ").await?;
        session.send_text("monde").await?;
        session.end().await?;
        let mut sound = Vec::new();
        while let Some(event) = session.next().await? {
            sound.extend_from_slice(&event.audio()?);
            if matches!(event, SpeechEvent::Done { .. }) {
                break;
            }
        }
        session.close().await?;
        Ok::<_, mistral_cassette::Error>(sound)
    };
    let recorded = speak(client(directory.path(), Mode::Record, &server.url))
        .await
        .unwrap();
    assert!(!recorded.is_empty());
    drop(server);
    let replayed = speak(client(directory.path(), Mode::Strict, NOWHERE)).await.unwrap();
    assert_eq!(replayed, recorded);
}
