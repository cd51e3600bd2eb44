//! TLS: the trusted roots, and the connector.

use std::sync::Arc;

use futures_rustls::{
    TlsConnector,
    pki_types::{CertificateDer, pem::PemObject},
    rustls::{ClientConfig, RootCertStore, crypto::ring},
};

use crate::error::OpenAiError;

/// The root certificates that are trusted beside those of
/// [`root_certificates`](crate::ChatOpenAiBuilder::root_certificates). They are set with
/// [`ChatOpenAiBuilder::roots`](crate::ChatOpenAiBuilder::roots).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Roots {
    /// Mozilla's, as compiled into `webpki-roots`.
    #[default]
    WebPki,
    /// Those of the operating system, read when the model is built. If the environment has
    /// `SSL_CERT_FILE` or `SSL_CERT_DIR`, those of that file or directory.
    System,
    /// None. A private installation may trust only its own.
    Empty,
}

/// The root certificates that a server's certificate is checked against.
#[derive(Clone, Debug)]
pub(crate) struct Store(RootCertStore);

impl Store {
    /// # Errors
    /// If the operating system has no certificate that can be read.
    pub(crate) fn of(roots: Roots) -> Result<Self, OpenAiError> {
        Ok(Self(match roots {
            Roots::WebPki => webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect(),
            Roots::System => system()?,
            Roots::Empty => RootCertStore::empty(),
        }))
    }

    /// Adds every certificate of a PEM text. There must be at least one.
    pub(crate) fn add_pem(&mut self, pem: &[u8]) -> Result<(), OpenAiError> {
        let before = self.0.len();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(invalid)?;
            self.0.add(certificate).map_err(invalid)?;
        }
        if self.0.len() == before {
            return Err(invalid("no certificate in it"));
        }
        Ok(())
    }

    /// The crypto provider is set explicitly. The process-wide default belongs to the application,
    /// and may be another one or not set.
    pub(crate) fn connector(self) -> Result<TlsConnector, OpenAiError> {
        if self.0.is_empty() {
            return Err(OpenAiError::NoRoots);
        }
        let provider = Arc::new(ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring supports TLS 1.2 and 1.3")
            .with_root_certificates(self.0)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

/// Certificates that cannot be read are left out, because systems have some that no library reads.
fn system() -> Result<RootCertStore, OpenAiError> {
    let mut found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    let (valid, _) = store.add_parsable_certificates(found.certs);
    if valid == 0 {
        let source = found.errors.pop().map(|error| error.into());
        return Err(OpenAiError::NoSystemRoots { source });
    }
    Ok(store)
}

fn invalid(source: impl Into<crate::error::BoxError>) -> OpenAiError {
    OpenAiError::InvalidCertificate { source: source.into() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn store(roots: Roots) -> Store {
        Store::of(roots).unwrap()
    }

    #[test]
    fn the_default_roots_make_a_connector() {
        assert!(store(Roots::WebPki).connector().is_ok());
    }

    #[test]
    fn an_empty_set_of_roots_is_an_error() {
        let error = store(Roots::Empty).connector().err();
        assert!(matches!(error, Some(OpenAiError::NoRoots)));
    }

    #[test]
    fn every_certificate_of_a_pem_is_added() {
        let certificate =
            || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
        let mut roots = store(Roots::Empty);
        roots.add_pem(format!("{}{}", certificate(), certificate()).as_bytes()).unwrap();
        assert_eq!(roots.0.len(), 2);
    }

    #[test]
    fn pem_without_a_certificate_is_an_error() {
        for pem in [
            "",
            "no pem",
            "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            let error = store(Roots::Empty).add_pem(pem.as_bytes()).unwrap_err();
            assert!(matches!(error, OpenAiError::InvalidCertificate { .. }), "{pem}");
        }
    }

    /// Run by the test below, in a process with an environment of its own.
    #[test]
    #[ignore = "it is a part of another test"]
    fn what_the_system_has() {
        // With one thread, the test harness has begun a line of its own.
        println!();
        match Store::of(Roots::System) {
            Ok(store) => println!("roots: {}", store.0.len()),
            Err(error) => println!("error: {error}"),
        }
    }

    #[test]
    fn the_systems_roots_may_be_in_a_file_of_the_environment() {
        let ask = |file: &std::path::Path| {
            let mut child = std::process::Command::new(std::env::current_exe().unwrap());
            child.args(["--exact", "--ignored", "--nocapture", "tls::tests::what_the_system_has"]);
            let child = child.env_remove("SSL_CERT_DIR").env("SSL_CERT_FILE", file);
            String::from_utf8(child.output().unwrap().stdout).unwrap()
        };
        let certificate =
            || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
        let file = std::env::temp_dir().join(format!("rappel-roots-{}.pem", std::process::id()));
        std::fs::write(&file, certificate() + &certificate()).unwrap();
        let (found, missing) = (ask(&file), ask(&file.with_extension("missing")));
        std::fs::remove_file(&file).unwrap();
        assert!(found.contains("roots: 2\n"), "{found}");
        assert!(
            missing.contains("error: no root certificate of the system can be read"),
            "{missing}"
        );
    }
}
