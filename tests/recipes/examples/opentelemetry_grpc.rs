//! Spans by OTLP over gRPC: an exporter of the program's own, on tokio.

use std::time::Duration;

use rappel_opentelemetry::opentelemetry_sdk::trace::SdkTracerProvider;
use rappel_opentelemetry::{OpenTelemetry, RunIds, Settings};
use rappel_tokio::prelude::*;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // OTEL_EXPORTER_OTLP_ENDPOINT is read: http://localhost:4317 by default.
    let exporter = opentelemetry_otlp::SpanExporter::builder().with_tonic().build()?;
    let provider = SdkTracerProvider::builder()
        .with_id_generator(RunIds::new())
        .with_batch_exporter(exporter)
        .build();
    let telemetry = OpenTelemetry::new(&provider, Settings::from_env());
    let callbacks = CallbackManager::new(Tokio::current())
        .with_async_handler(telemetry)
        .on_shutdown(move |deadline| Ok(provider.shutdown_with_timeout(deadline)?));

    let mut run = callbacks.on_llm_start(LlmStart::new("my-model", "Tell me a joke")).await?;
    run.on_llm_new_token("Why not?").await?;
    run.end("Why not?").await?;
    let report = callbacks.shutdown(Duration::from_secs(5)).await?;
    report.unfinished.iter().for_each(|work| eprintln!("{work}"));
    Ok(())
}
