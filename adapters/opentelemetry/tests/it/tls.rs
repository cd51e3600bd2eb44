//! A collector behind TLS.

use std::sync::Arc;
use std::time::Duration;

use futures_executor::block_on;
use rappel_core::CallbackManager;
use rappel_opentelemetry::{BuildError, otlp};
use rappel_threads::Threads;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::collector::Collector;
use crate::scene;

/// A collector, and its certificate as PEM.
fn collector() -> (Collector, String) {
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let pem = key.cert.pem();
    let private = PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], private)
        .unwrap();
    let config = Arc::new(config);
    let wrap = Arc::new(move |stream| {
        let connection = ServerConnection::new(config.clone()).unwrap();
        Box::new(StreamOwned::new(connection, stream)) as Box<dyn crate::collector::Stream>
    });
    (Collector::start_with([], wrap), pem)
}

#[test]
fn spans_arrive_at_a_collector_with_tls() {
    let (collector, pem) = collector();
    let url = format!("https://localhost:{}", collector.address.port());
    let telemetry = otlp().endpoint(url).root_certificates(pem).build().unwrap();
    let callbacks = telemetry.register(CallbackManager::new(Threads::new()));
    block_on(scene::small(&callbacks));
    let report = block_on(callbacks.shutdown(Duration::from_secs(20))).unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(collector.spans().len(), 3);
}

#[test]
fn nothing_is_sent_to_a_collector_that_is_not_trusted() {
    let (collector, _) = collector();
    let url = format!("https://localhost:{}", collector.address.port());
    let telemetry = otlp().endpoint(url).timeout(Duration::from_millis(500)).build().unwrap();
    let callbacks = telemetry.register(CallbackManager::new(Threads::new()));
    block_on(scene::small(&callbacks));
    let report = block_on(callbacks.shutdown(Duration::from_secs(20))).unwrap();
    assert!(report.unfinished[0].contains("certificate"), "{report:?}");
    assert_eq!(telemetry.counts().acknowledged, 0);
    assert_eq!(collector.spans().len(), 0);
}

#[test]
fn a_certificate_that_is_none_is_an_error() {
    let error = otlp().root_certificates("no pem").build().unwrap_err();
    assert!(matches!(error, BuildError::Certificates), "{error}");
}
