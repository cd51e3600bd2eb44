//! Settings that cannot work are errors of `build`, and no error shows a secret.

use std::process::Command;
use std::time::Duration;

use futures_executor::block_on;
use rappel_core::CallbackManager;
use rappel_opentelemetry::{BuildError, OtlpBuilder, otlp};
use rappel_threads::Threads;

use crate::collector::Collector;
use crate::scene;

fn error(builder: OtlpBuilder) -> BuildError {
    let error = builder.build().map(drop).expect_err("it cannot work");
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("s3cret"), "{shown}");
    error
}

#[test]
fn a_header_that_cannot_be_sent_is_an_error_that_names_it() {
    // A key that was read from a file ends in a newline.
    let found = error(otlp().header("Authorization", "Bearer s3cret\n"));
    let BuildError::Header { name: Some(name), .. } = found else { panic!("{found}") };
    assert_eq!(name, "authorization");
    // The name and the value were swapped.
    let found = error(otlp().header("Bearer s3cret", "authorization"));
    assert!(matches!(found, BuildError::Header { name: None, .. }), "{found}");
    assert!(matches!(error(otlp().header("", "s3cret")), BuildError::Header { .. }));
}

#[test]
fn an_endpoint_that_cannot_be_reached_is_an_error_that_does_not_show_it() {
    for endpoint in [
        "",
        "/v1",
        "localhost:4318",
        "http://user:s3cret@",
        "https://u:s3cret @h",
        "ftp://u:s3cret@h",
    ] {
        let found = error(otlp().endpoint(endpoint).metrics());
        assert!(matches!(found, BuildError::Endpoint { .. }), "{endpoint}: {found}");
        assert!(found.to_string().contains("`endpoint`"), "{found}");
    }
}

#[test]
fn a_password_or_a_query_that_would_not_be_sent_is_an_error() {
    for (endpoint, word) in [
        ("http://user:s3cret@localhost:4318", "password"),
        ("https://s3cret@localhost", "password"),
        ("https://localhost/otlp?key=s3cret", "query"),
    ] {
        let found = error(otlp().endpoint(endpoint));
        assert!(found.to_string().contains(word), "{found}");
    }
}

#[test]
fn the_largest_and_smallest_numbers_are_taken() {
    let changes: [fn(OtlpBuilder) -> OtlpBuilder; 5] = [
        |otlp| otlp.timeout(Duration::MAX),
        |otlp| otlp.queue_size(usize::MAX),
        |otlp| otlp.queue_size(0),
        |otlp| otlp.schedule_delay(Duration::MAX),
        |otlp| otlp.schedule_delay(Duration::ZERO),
    ];
    for change in changes {
        let collector = Collector::start([]);
        let delay = Duration::from_secs(3600);
        let telemetry = otlp().endpoint(collector.url()).schedule_delay(delay);
        let telemetry = change(telemetry).build().unwrap();
        let callbacks = telemetry.register(CallbackManager::new(Threads::new()));
        block_on(async {
            let run = callbacks.on_tool_start(rappel_core::ToolStart::new("t", "")).await.unwrap();
            run.end("").await.unwrap();
        });
        assert!(block_on(callbacks.shutdown(Duration::from_secs(60))).unwrap().is_clean());
        assert!(telemetry.counts().is_complete());
    }
}

/// Builds and sends, in a process with environment variables of its own.
#[test]
#[ignore = "it is called by the other tests"]
fn in_a_process_of_its_own() {
    match otlp().build() {
        Ok(telemetry) => {
            let callbacks = telemetry.register(CallbackManager::new(Threads::new()));
            block_on(scene::small(&callbacks));
            let report = block_on(callbacks.shutdown(Duration::from_secs(20))).unwrap();
            println!("built; {}; {:?}", telemetry.counts(), report.unfinished);
        }
        Err(error) => println!("not built; {error}; {error:?}"),
    }
}

/// What the process above prints.
fn with(variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([
        "--exact",
        "--ignored",
        "--nocapture",
        "wrong_settings::in_a_process_of_its_own",
    ]);
    let output = command.envs(variables.iter().copied()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{variables:?}: {text}");
    assert!(!text.contains("s3cret"), "{variables:?}: {text}");
    text
}

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";

#[test]
fn variables_that_cannot_work_are_named() {
    for (variable, value) in [
        (ENDPOINT, "https://user:s3cret word@collector"),
        (ENDPOINT, "collector:4318"),
        (ENDPOINT, "http://collector:4318?key=s3cret"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "grpc://user:s3cret@collector"),
        // A colon where an equals sign belongs.
        (HEADERS, "Authorization: Bearer s3cret"),
        (HEADERS, "x-team=a,s3cret"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x-key=s3cret\u{7f}"),
    ] {
        let said = with(&[(variable, value)]);
        assert!(said.contains("not built"), "{value}: {said}");
        assert!(said.contains(&format!("{variable} ")), "{value}: {said}");
    }
}

#[test]
fn a_certificate_of_the_client_without_its_key_is_an_error() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    for variable in ["OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "OTEL_EXPORTER_OTLP_CLIENT_KEY"] {
        let said = with(&[(variable, path)]);
        assert!(said.contains("not built") && said.contains("together"), "{said}");
    }
}

#[test]
fn the_variable_of_a_signal_is_taken_as_it_is() {
    let collector = Collector::start([]);
    let url = collector.url() + "/v1/traces?team=a";
    let signal = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
    let headers = (HEADERS, "not headers");
    let own = ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x-key=1");
    let said = with(&[(ENDPOINT, "not a url"), (signal, &url), headers, own]);
    assert!(said.contains("built; of 3 spans, 3 were ack"), "{said}");
    assert_eq!(collector.requests()[0].path, "/v1/traces?team=a");
}

#[test]
fn variables_with_other_words_fall_back_to_the_defaults() {
    let collector = Collector::start([]);
    let url = collector.url();
    let mut requests = 0;
    for (variable, value) in [
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "18446744073709551615"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "none"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "brotli"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "18446744073709551615"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "0"),
        ("OTEL_BSP_SCHEDULE_DELAY", "-1"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_TRACES_SAMPLER_ARG", "x"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=b,,=,c"),
        (HEADERS, " x-team = a , x-key=b%20c==, "),
        (HEADERS, ""),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", ""),
    ] {
        let said = with(&[(ENDPOINT, &url), (variable, value)]);
        // A queue for one span may be full.
        assert!(
            said.contains("built; of 3 spans") && !said.contains("0 were ack"),
            "{value}: {said}"
        );
        let all = collector.requests();
        assert!(all.len() > requests, "{variable}={value}");
        requests = all.len();
        let request = &all[requests - 1];
        assert_eq!(request.header("content-type"), Some("application/x-protobuf"));
        if value.contains("x-key") {
            assert_eq!(request.header("x-team"), Some("a"));
            assert_eq!(request.header("x-key"), Some("b c=="));
        }
    }
}
