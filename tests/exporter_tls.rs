//! TLS towards a backend: who is trusted, and who we say that we are.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/backend.rs"]
mod backend;
#[path = "support/exporters.rs"]
mod exporters;

use backend::Backend;
use exporters::{BOTH, Kind, Running, Setup, spans};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use refusal_collector::config::model::ClientTls;
use refusal_collector::exporter::{StartError, TlsError};
use refusal_collector::otlp::Signal;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// An authority of our own, and a place for its files.
struct Authority {
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
    dir: TempDir,
}

struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: KeyPair,
    cert_file: PathBuf,
    key_file: PathBuf,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let authority =
            Authority { certificate, issuer: Issuer::new(params, key), dir: TempDir::new().unwrap() };
        std::fs::write(authority.ca_file(), authority.certificate.pem()).unwrap();
        authority
    }

    fn ca_file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    fn identity(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let file = |kind: &str| self.dir.path().join(format!("{name}.{kind}.pem"));
        let (cert_file, key_file) = (file("cert"), file("key"));
        std::fs::write(&cert_file, certificate.pem()).unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        Identity { chain: vec![certificate.der().clone()], key, cert_file, key_file }
    }

    /// A server that calls itself `name`; with `clients` it wants certificates that they have signed.
    fn server(&self, name: &str, clients: Option<&Authority>) -> ServerConfig {
        let identity = self.identity(name);
        let key = PrivateKeyDer::try_from(identity.key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let mut roots = RootCertStore::empty();
                roots.add(clients.certificate.der().clone()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let mut config = builder.with_single_cert(identity.chain, key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config
    }
}

fn start(kind: Kind, authority: &str, tls: ClientTls) -> Running {
    Setup { tls, ..Setup::default() }.start_at(kind, authority).unwrap()
}

fn localhost(backend: &Backend) -> String {
    format!("localhost:{}", backend.address.port())
}

async fn delivers(running: Running, backend: &Backend) {
    let before = backend.accepted().len();
    running.send(spans(0..1)).await.unwrap();
    backend.wait_for_accepted(before + 1).await;
    assert_eq!(running.settled().await.exported, 1);
}

/// Fails and goes on failing.
async fn fails(running: Running, backend: &Backend) {
    let before = backend.requests().len();
    running.send(spans(0..1)).await.unwrap();
    let start = Instant::now();
    while running.account(Signal::Traces).send_failed < 3 {
        assert!(start.elapsed() < backend::PATIENCE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(backend.requests().len(), before, "the request got through");
}

#[tokio::test]
async fn a_backend_that_the_authority_vouches_for_is_trusted() {
    let authority = Authority::new();
    let backend = Backend::start_with_tls(authority.server("localhost", None)).await;
    for kind in BOTH {
        let tls = ClientTls { ca_file: Some(authority.ca_file()), ..ClientTls::default() };
        delivers(start(kind, &localhost(&backend), tls), &backend).await;
    }
    let versions: Vec<_> = backend.accepted().iter().map(|request| request.version).collect();
    assert_eq!(versions, [http::Version::HTTP_2; 2], "TLS agrees on HTTP/2 for both");
}

#[tokio::test]
async fn a_backend_that_nobody_vouches_for_gets_nothing() {
    let (authority, other) = (Authority::new(), Authority::new());
    let backend = Backend::start_with_tls(authority.server("localhost", None)).await;
    for kind in BOTH {
        let tls = ClientTls { ca_file: Some(other.ca_file()), ..ClientTls::default() };
        fails(start(kind, &localhost(&backend), tls), &backend).await;
    }
}

#[tokio::test]
async fn a_backend_with_another_name_gets_nothing_unless_that_name_is_expected() {
    let authority = Authority::new();
    let backend = Backend::start_with_tls(authority.server("backend.example", None)).await;
    for kind in BOTH {
        let tls = ClientTls { ca_file: Some(authority.ca_file()), ..ClientTls::default() };
        fails(start(kind, &localhost(&backend), tls.clone()), &backend).await;
        let tls = ClientTls { server_name_override: Some("backend.example".into()), ..tls };
        delivers(start(kind, &localhost(&backend), tls), &backend).await;
    }
}

#[tokio::test]
async fn with_insecure_skip_verify_any_certificate_will_do() {
    let authority = Authority::new();
    let backend = Backend::start_with_tls(authority.server("backend.example", None)).await;
    for kind in BOTH {
        let tls = ClientTls { insecure_skip_verify: true, ..ClientTls::default() };
        delivers(start(kind, &localhost(&backend), tls), &backend).await;
    }
}

#[tokio::test]
async fn a_backend_that_wants_to_know_us_sees_our_certificate() {
    let (authority, clients, strangers) = (Authority::new(), Authority::new(), Authority::new());
    let backend = Backend::start_with_tls(authority.server("localhost", Some(&clients))).await;
    let with = |identity: Option<Identity>| ClientTls {
        ca_file: Some(authority.ca_file()),
        cert_file: identity.as_ref().map(|identity| identity.cert_file.clone()),
        key_file: identity.map(|identity| identity.key_file),
        ..ClientTls::default()
    };
    for kind in BOTH {
        delivers(start(kind, &localhost(&backend), with(Some(clients.identity("us")))), &backend).await;
        fails(start(kind, &localhost(&backend), with(None)), &backend).await;
        fails(start(kind, &localhost(&backend), with(Some(strangers.identity("them")))), &backend).await;
    }
}

#[tokio::test]
async fn a_certificate_that_was_exchanged_is_shown_on_the_next_connection() {
    let (authority, old, new) = (Authority::new(), Authority::new(), Authority::new());
    let identity = old.identity("us");
    let tls = ClientTls {
        ca_file: Some(authority.ca_file()),
        cert_file: Some(identity.cert_file.clone()),
        key_file: Some(identity.key_file.clone()),
        reload_interval: Some(Duration::from_millis(10)),
        ..ClientTls::default()
    };
    for kind in BOTH {
        let backend = Backend::start_with_tls(authority.server("localhost", Some(&old))).await;
        let address = backend.address;
        let running = start(kind, &localhost(&backend), tls.clone());
        running.send(spans(0..1)).await.unwrap();
        backend.wait_for_accepted(1).await;
        backend.stop().await;
        // From now on only the new authority's clients are let in.
        let backend = Backend::start_at(address, Some(authority.server("localhost", Some(&new)))).await;
        let exchanged = new.identity("us");
        std::fs::copy(&exchanged.key_file, &identity.key_file).unwrap();
        std::fs::copy(&exchanged.cert_file, &identity.cert_file).unwrap();
        running.send(spans(1..2)).await.unwrap();
        backend.wait_for_accepted(1).await;
        assert_eq!(running.settled().await.exported, 2);
        // For the other kind.
        old.identity("us");
    }
}

#[tokio::test]
async fn plain_text_is_not_sent_to_a_backend_that_should_be_encrypted() {
    let authority = Authority::new();
    let backend = Backend::start().await;
    for kind in BOTH {
        let tls = ClientTls { ca_file: Some(authority.ca_file()), ..ClientTls::default() };
        fails(start(kind, &localhost(&backend), tls), &backend).await;
    }
}

#[tokio::test]
async fn files_that_are_missing_are_told_at_the_start() {
    for kind in BOTH {
        let tls = ClientTls { ca_file: Some("/nonexistent/ca.pem".into()), ..ClientTls::default() };
        let error = Setup { tls, ..Setup::default() }.start_at(kind, "localhost:1").err().unwrap();
        assert!(matches!(&error, StartError::Tls(TlsError::File { .. })), "{error}");
        assert!(error.to_string().starts_with("tls: /nonexistent/ca.pem: "), "{error}");
    }
}
