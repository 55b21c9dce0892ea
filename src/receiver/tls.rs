//! TLS for those who connect: who we are, and who they have to be.

use crate::config::model::{ServerTls, TlsVersion};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, version};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Why a port cannot speak TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate or its key is not named.
    #[error("tls needs a cert_file and a key_file")]
    NoIdentity,
    /// A file that cannot be read, or is not PEM.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// A file without a certificate.
    #[error("{}: no certificate in it", .0.display())]
    NoCertificate(PathBuf),
    /// `client_ca_file` names no usable authority.
    #[error("client_ca_file: {0}")]
    ClientCa(#[from] VerifierBuilderError),
    /// Certificate and key do not belong together, or cannot be used.
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

/// The TLS of one port.
#[derive(Debug)]
pub struct Tls {
    files: ServerTls,
    protocols: Vec<Vec<u8>>,
    current: ArcSwap<ServerConfig>,
    read_at: Mutex<Instant>,
}

impl Tls {
    /// Reads the files; offers `protocols` by ALPN.
    pub fn new(files: ServerTls, protocols: &[&[u8]]) -> Result<Self, TlsError> {
        let protocols: Vec<Vec<u8>> = protocols.iter().map(|p| p.to_vec()).collect();
        let current = ArcSwap::from_pointee(read(&files, &protocols)?);
        Ok(Tls { files, protocols, current, read_at: Mutex::new(Instant::now()) })
    }

    /// Shakes hands with a new connection. The caller bounds the wait.
    pub async fn accept<IO>(self: &Arc<Self>, io: IO) -> io::Result<TlsStream<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        if self.is_due() {
            let tls = self.clone();
            let _ = tokio::task::spawn_blocking(move || tls.reload()).await;
        }
        TlsAcceptor::from(self.current.load_full()).accept(io).await
    }

    /// Whether the files are to be read anew, which is said to one caller only.
    fn is_due(&self) -> bool {
        let Some(interval) = self.files.reload_interval else { return false };
        let mut read_at = self.read_at.lock();
        let is_due = read_at.elapsed() >= interval;
        if is_due {
            *read_at = Instant::now();
        }
        is_due
    }

    fn reload(&self) {
        match read(&self.files, &self.protocols) {
            Ok(config) => self.current.store(Arc::new(config)),
            Err(error) => {
                tracing::warn!(%error, "cannot read the certificates anew; the old ones stay in use")
            }
        }
    }
}

fn read(files: &ServerTls, protocols: &[Vec<u8>]) -> Result<ServerConfig, TlsError> {
    let (Some(cert), Some(key)) = (&files.cert_file, &files.key_file) else {
        return Err(TlsError::NoIdentity);
    };
    let chain = certificates(cert)?;
    let key =
        PrivateKeyDer::from_pem_file(key).map_err(|source| TlsError::File { path: key.clone(), source })?;
    let provider = Arc::new(ring::default_provider());
    let versions = match files.min_version {
        TlsVersion::Tls12 => &[&version::TLS13, &version::TLS12][..],
        TlsVersion::Tls13 => &[&version::TLS13],
    };
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions)?;
    let builder = match &files.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build()?)
        }
    };
    let mut config = builder.with_single_cert(chain, key)?;
    config.alpn_protocols = protocols.to_vec();
    Ok(config)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|source| TlsError::File { path: path.to_owned(), source })?;
    if certificates.is_empty() { Err(TlsError::NoCertificate(path.to_owned())) } else { Ok(certificates) }
}
