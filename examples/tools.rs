//! A tool that the model asks for, and the answer that it makes of it, offline: `cargo run --example tools`.
//!
//! Two requests, two cassettes in `cassettes/chat-completions/`: the second one holds what the tool returned, so a tool
//! that returns something else is another request. With feature `schemars` the schema comes from `Args` itself:
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

    let answer = client.chat(chat.clone()).await?;
    chat = chat.message(answer.choices[0].message.clone());
    for call in answer.tool_calls() {
        let args: Args = call.function.parse()?;
        let result = get_weather(&args);
        println!("{}({})", call.function.name, args.city);
        chat = chat.tool(call.id.as_deref().unwrap_or_default(), &call.function.name, result);
    }
    println!("{}", client.chat(chat).await?.text());
    Ok(())
}
