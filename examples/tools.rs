//! Replays a chat with a tool call, offline: `cargo run --example tools`.
//!
//! The two requests have two cassettes in `cassettes/chat-completions/`. The second request contains the result of the
//! tool, so a different result is a different request. With the feature `schemars`, the schema comes from `Args`:
//! `Tool::function::<Args>("get_weather", "…")`.

use mistral_cassette::DirectoryEngine;
use mistral_cassette::client::{ChatRequest, Client, Tool};
use serde_json::json;

#[derive(serde::Deserialize)]
struct Args {
    city: String,
}

fn get_weather(args: &Args) -> String {
    format!("{}: 21 degrees, and a strong wind from the north", args.city)
}

#[tokio::main]
async fn main() -> mistral_cassette::Result<()> {
    let client = Client::from_env()?.cached(DirectoryEngine::new("cassettes"))?;
    let tool = Tool::with_parameters(
        "get_weather",
        "The weather in a city, now.",
        json!({ "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"] }),
    );
    let mut chat = ChatRequest::new("mistral-small-latest")
        .user("What is the weather in Paris?")
        .with_tool(tool);

    let response = client.chat(chat.clone()).await?;
    chat = chat.message(response.choices[0].message.clone());
    for call in response.tool_calls() {
        let args: Args = call.function.parse()?;
        let result = get_weather(&args);
        println!("{}({})", call.function.name, args.city);
        chat = chat.tool(call.id.as_deref().unwrap_or_default(), &call.function.name, result);
    }
    println!("{}", client.chat(chat).await?.text());
    Ok(())
}
