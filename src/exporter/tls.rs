//! TLS towards a backend.

use crate::config::model::ClientTls;
use parking_lot::Mutex;
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{self, CryptoProvider};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that cannot be read, or is not PEM.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// A file without what it should hold.
    #[error("{}: no certificate in it", .0.display())]
    NoCertificate(PathBuf),
    /// The system has no trusted roots.
    #[error("the system has no trusted root certificates; name some in ca_file{}", first_problem(.0))]
    NoSystemRoots(Vec<rustls_native_certs::Error>),
    /// A certificate without its key, or the reverse.
    #[error("cert_file and key_file belong together; only one of them is given")]
    HalfAnIdentity,
    /// `server_name_override` is no name.
    #[error("server_name_override: {0:?} is neither a DNS name nor an address")]
    ServerName(String),
    /// A certificate or key that TLS cannot use.
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

fn first_problem(problems: &[rustls_native_certs::Error]) -> String {
    problems.first().map(|problem| format!(" ({problem})")).unwrap_or_default()
}

/// What a connection needs to know, without the protocols that it offers.
pub fn client_config(tls: &ClientTls) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let builder = if tls.insecure_skip_verify {
        let verifier = NoVerification(provider.clone());
        builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
    } else {
        builder.with_root_certificates(roots(tls.ca_file.as_deref())?)
    };
    match (&tls.cert_file, &tls.key_file) {
        (None, None) => Ok(builder.with_no_client_auth()),
        (Some(cert), Some(key)) => {
            let files = IdentityFiles { cert: cert.clone(), key: key.clone() };
            Ok(builder.with_client_cert_resolver(Arc::new(Identity::read(
                files,
                tls.reload_interval,
                provider,
            )?)))
        }
        _ => Err(TlsError::HalfAnIdentity),
    }
}

/// The name that the certificate must carry, where it is not the endpoint's.
pub fn server_name(tls: &ClientTls) -> Result<Option<ServerName<'static>>, TlsError> {
    let Some(name) = &tls.server_name_override else { return Ok(None) };
    match ServerName::try_from(name.clone()) {
        Ok(name) => Ok(Some(name)),
        Err(_) => Err(TlsError::ServerName(name.clone())),
    }
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca_file {
        for certificate in certificates(path)? {
            roots.add(certificate)?;
        }
        return Ok(roots);
    }
    let system = rustls_native_certs::load_native_certs();
    let (usable, _) = roots.add_parsable_certificates(system.certs);
    if usable == 0 { Err(TlsError::NoSystemRoots(system.errors)) } else { Ok(roots) }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|source| TlsError::File { path: path.to_owned(), source })?;
    if certificates.is_empty() { Err(TlsError::NoCertificate(path.to_owned())) } else { Ok(certificates) }
}

/// Who we say that we are, read anew now and then.
#[derive(Debug)]
struct Identity {
    files: IdentityFiles,
    reload_interval: Option<Duration>,
    provider: Arc<CryptoProvider>,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    key: Arc<CertifiedKey>,
    read_at: Instant,
}

#[derive(Debug)]
struct IdentityFiles {
    cert: PathBuf,
    key: PathBuf,
}

impl IdentityFiles {
    fn read(&self, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, TlsError> {
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|source| TlsError::File { path: self.key.clone(), source })?;
        Ok(Arc::new(CertifiedKey::from_der(certificates(&self.cert)?, key, provider)?))
    }
}

impl Identity {
    fn read(
        files: IdentityFiles,
        reload_interval: Option<Duration>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, TlsError> {
        let current = Mutex::new(Current { key: files.read(&provider)?, read_at: Instant::now() });
        Ok(Identity { files, reload_interval, provider, current })
    }
}

impl ResolvesClientCert for Identity {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let mut current = self.current.lock();
        if self.reload_interval.is_some_and(|interval| current.read_at.elapsed() >= interval) {
            current.read_at = Instant::now();
            match self.files.read(&self.provider) {
                Ok(key) => current.key = key,
                Err(error) => tracing::warn!(
                    %error,
                    "cannot read the client certificate anew; the old one stays in use"
                ),
            }
        }
        Some(current.key.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// `insecure_skip_verify`: encrypted, but with whoever answers.
#[derive(Debug)]
struct NoVerification(Arc<CryptoProvider>);

impl ServerCertVerifier for NoVerification {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        crypto::verify_tls12_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        crypto::verify_tls13_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_missing_or_empty_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing.pem");
        let error =
            client_config(&ClientTls { ca_file: Some(missing.clone()), ..ClientTls::default() }).unwrap_err();
        assert!(error.to_string().starts_with(missing.to_str().unwrap()), "{error}");

        let empty = dir.path().join("empty.pem");
        std::fs::write(&empty, "no certificate").unwrap();
        let error = client_config(&ClientTls { ca_file: Some(empty), ..ClientTls::default() }).unwrap_err();
        assert!(matches!(error, TlsError::NoCertificate(_)), "{error}");
    }

    #[test]
    fn a_certificate_without_a_key_is_refused() {
        let tls =
            ClientTls { insecure_skip_verify: true, cert_file: Some("a.pem".into()), ..ClientTls::default() };
        assert!(matches!(client_config(&tls), Err(TlsError::HalfAnIdentity)));
    }

    #[test]
    fn a_server_name_that_is_none_is_refused() {
        let tls = |name: &str| ClientTls { server_name_override: Some(name.into()), ..ClientTls::default() };
        assert!(server_name(&tls("backend.example")).unwrap().is_some());
        assert!(server_name(&tls("10.0.0.1")).unwrap().is_some());
        assert!(matches!(server_name(&tls("not a name")), Err(TlsError::ServerName(_))));
        assert!(server_name(&ClientTls::default()).unwrap().is_none());
    }
}
