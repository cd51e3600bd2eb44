//! TLS, with an authority of the test's own.

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use rappel_redis::{Connect, Error, RedisPublisher};
use rappel_threads::prelude::*;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::scene::{Log, play, start, with};
use crate::support::{Server, wait_until};

#[test]
fn a_certificate_of_the_given_authority_is_trusted_and_no_other() {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new([]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();

    let files = tempfile::tempdir().unwrap();
    let path = |name: &str| files.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("cert.pem"), certificate.pem()).unwrap();
    fs::write(path("key.pem"), key.serialize_pem()).unwrap();
    fs::write(path("ca.pem"), &pem).unwrap();
    let tls_port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (port, cert) = (tls_port.to_string(), path("cert.pem"));
    let (private, ca) = (path("key.pem"), path("ca.pem"));
    let arguments = ["--tls-port", &port, "--tls-cert-file", &cert, "--tls-key-file", &private];
    let more = ["--tls-ca-cert-file", &ca, "--tls-auth-clients", "no"];
    let Some(_server) = Server::start(&[&arguments[..], &more[..]].concat()) else { return };

    let url = format!("rediss://localhost:{tls_port}/");
    let error = RedisPublisher::new(url.as_str()).build().unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    let connect = Connect::to(&url).root_certificate(pem);
    let publisher = RedisPublisher::new(connect.clone()).partitions(1).build().unwrap();
    let callbacks = publisher.register(CallbackManager::new(Threads::new()));
    play(&callbacks, 2);
    callbacks.shutdown(Duration::from_secs(5)).wait().unwrap();
    let log = Log::default();
    let worker = rappel_redis::RedisWorker::new(connect);
    let running = start(worker, with(&log));
    wait_until("the trace", || running.handle.counts().whole == 1);
    running.stop();
}
