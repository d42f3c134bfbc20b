//! The scripted model server as a process.
//!
//! `cargo run -p sid-testkit --example model_server -- --port 8799 [--text WORDS] [--model NAME] [--window TOKENS]
//! [--flavour generic|vllm|llamacpp|ollama] [--delay-ms N] [--chunk-delay-ms N] [--key KEY] [--no-tools] [--no-record]`

use std::process::ExitCode;
use std::time::Duration;

use sid_testkit::model_server::{Flavour, ModelServer, ServerOptions};

fn options() -> Result<ServerOptions, String> {
    let mut options = ServerOptions::default();
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{name} needs a value"));
        fn number<T: std::str::FromStr>(text: String) -> Result<T, String> {
            text.parse().map_err(|_| format!("`{text}` is not a number"))
        }
        match name.as_str() {
            "--port" => options.port = number(value()?)?,
            "--text" => options.default_text = value()?,
            "--model" => options.model = value()?,
            "--window" => options.window = Some(number(value()?)?),
            "--delay-ms" => options.delay = Duration::from_millis(number(value()?)?),
            "--chunk-delay-ms" => options.chunk_delay = Duration::from_millis(number(value()?)?),
            "--key" => options.api_key = Some(value()?),
            "--no-tools" => options.has_tools = false,
            "--no-record" => options.record = false,
            "--flavour" => {
                options.flavour = match value()?.as_str() {
                    "generic" => Flavour::Generic,
                    "vllm" => Flavour::Vllm,
                    "llamacpp" => Flavour::LlamaCpp,
                    "ollama" => Flavour::Ollama,
                    other => return Err(format!("no flavour `{other}`")),
                };
            }
            other => return Err(format!("no option `{other}`")),
        }
    }
    Ok(options)
}

#[tokio::main]
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a program that says where it listens")]
async fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::FAILURE;
        }
    };
    match ModelServer::start_with(options).await {
        Ok(server) => {
            println!("model server on {}", server.base_url());
            server.run().await;
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("cannot listen: {error}");
            ExitCode::FAILURE
        }
    }
}
