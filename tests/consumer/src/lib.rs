//! A small agent on the Mistral API: chats with a tool, streams, embeddings, documents and batch jobs.

use std::time::Duration;

use futures_util::StreamExt as _;
use mistral_cassette::Result;
use mistral_cassette::client::{
    BatchJob, BatchRequest, ChatRequest, Client, ContentChunk, EmbeddingsRequest, FileUpload, OcrRequest, Polling, Tool,
};
use serde_json::json;

const MODEL: &str = "mistral-small-latest";

/// An agent that knows the weather.
#[derive(Clone, Debug)]
pub struct Agent {
    client: Client,
}

impl Agent {
    pub fn new(client: &Client) -> Self {
        Self { client: client.clone() }
    }

    pub async fn ask(&self, question: &str) -> Result<String> {
        Ok(self.client.chat(ChatRequest::new(MODEL).user(question)).await?.text())
    }

    /// Asks, and answers the calls of the tool.
    pub async fn weather(&self, city: &str) -> Result<String> {
        let schema = json!({ "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"] });
        let mut chat = ChatRequest::new(MODEL)
            .user(format!("What is the weather in {city}?"))
            .with_tool(Tool::with_parameters(
                "get_weather",
                "The weather in a city, now.",
                schema,
            ));
        loop {
            let answer = self.client.chat(chat.clone()).await?;
            if answer.tool_calls().is_empty() {
                return Ok(answer.text());
            }
            chat = chat.messages(answer.message().cloned());
            for call in answer.tool_calls() {
                let id = call.id.as_deref().unwrap_or_default();
                chat = chat.tool(id, &call.function.name, "21 degrees, and a strong wind");
            }
        }
    }

    /// The first words of a streamed answer; the stream is left then.
    pub async fn first_words(&self, question: &str, chunks: usize) -> Result<String> {
        let stream = self.client.chat_stream(ChatRequest::new(MODEL).user(question)).await?;
        let mut stream = stream.take(chunks);
        let mut text = String::new();
        while let Some(chunk) = stream.next().await {
            text.push_str(&chunk?.text());
        }
        Ok(text)
    }

    /// The text that is most like the question.
    pub async fn most_similar<'a>(&self, question: &str, texts: &[&'a str]) -> Result<Option<&'a str>> {
        let input: Vec<&str> = [question].into_iter().chain(texts.iter().copied()).collect();
        let response = self
            .client
            .embeddings(EmbeddingsRequest::new("mistral-embed", input))
            .await?;
        let vectors: Vec<&[f64]> = response.vectors().collect();
        let likeness = |vector: &[f64]| vectors[0].iter().zip(vector).map(|(a, b)| a * b).sum::<f64>();
        let ranked = texts.iter().zip(&vectors[1..]);
        Ok(ranked
            .max_by(|(_, a), (_, b)| likeness(a).total_cmp(&likeness(b)))
            .map(|(text, _)| *text))
    }

    /// Uploads a document, and reads its text.
    pub async fn read_document(&self, name: &str, content: &[u8]) -> Result<String> {
        let upload = FileUpload::new(name, content.to_vec()).purpose("ocr");
        let file = self.client.upload_file(upload).await?;
        let document = OcrRequest::new("mistral-ocr-latest", ContentChunk::file(&file.id));
        Ok(self.client.ocr(document).await?.markdown())
    }

    /// Asks all questions in one batch job.
    pub async fn ask_all(&self, questions: &[&str]) -> Result<BatchJob> {
        let mut job = BatchRequest::new("/v1/chat/completions");
        for (number, question) in questions.iter().enumerate() {
            job = job.request(number.to_string(), ChatRequest::new(MODEL).user(*question));
        }
        let job = self.client.create_batch_job(job).await?;
        let polling = Polling::at_most(Duration::from_secs(10)).interval(Duration::from_millis(1));
        job.wait_until_done(&self.client, polling).await
    }
}

#[cfg(test)]
mod tests {
    use mistral_cassette::cassette;

    use super::*;

    #[tokio::test]
    async fn answers_from_a_module() {
        let session = cassette!();
        let answer = Agent::new(&session.client())
            .ask("What is the capital of France?")
            .await
            .unwrap();
        assert!(answer.contains("Paris"));
    }

    mod r#try {
        use super::*;

        #[tokio::test]
        async fn r#match() {
            let session = cassette!();
            let answer = Agent::new(&session.client())
                .ask("What is the capital of France?")
                .await;
            assert!(answer.unwrap().contains("Paris"));
        }
    }
}
