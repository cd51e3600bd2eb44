//! TLS: the trusted roots, and the connector.

use std::sync::Arc;

use futures_rustls::{
    TlsConnector,
    pki_types::{CertificateDer, pem::PemObject},
    rustls::{ClientConfig, RootCertStore, crypto::ring},
};

use crate::error::OpenAiError;

/// The root certificates that a server's certificate is checked against.
#[derive(Clone, Debug)]
pub(crate) struct Roots(RootCertStore);

impl Roots {
    /// Mozilla's, as compiled into `webpki-roots`.
    pub(crate) fn webpki() -> Self {
        Self(webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect())
    }

    /// No roots. A private installation may trust only its own.
    pub(crate) fn empty() -> Self {
        Self(RootCertStore::empty())
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

fn invalid(source: impl Into<crate::error::BoxError>) -> OpenAiError {
    OpenAiError::InvalidCertificate { source: source.into() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_default_roots_make_a_connector() {
        assert!(Roots::webpki().connector().is_ok());
    }

    #[test]
    fn an_empty_set_of_roots_is_an_error() {
        let error = Roots::empty().connector().err();
        assert!(matches!(error, Some(OpenAiError::NoRoots)));
    }

    #[test]
    fn every_certificate_of_a_pem_is_added() {
        let certificate =
            || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
        let mut roots = Roots::empty();
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
            let error = Roots::empty().add_pem(pem.as_bytes()).unwrap_err();
            assert!(matches!(error, OpenAiError::InvalidCertificate { .. }), "{pem}");
        }
    }
}
