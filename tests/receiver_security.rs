//! Who gets in: TLS with certificates that change, certificates of clients, and bearer tokens.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod receiver_support;

use http::StatusCode;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use receiver_support::*;
use refusal_collector::config::ComponentId;
use refusal_collector::config::model::{
    Authentication, BearerTokenAuth, Extension, OtlpReceiver, Secret, ServerTls, TlsVersion,
};
use refusal_collector::otlp::Signal;
use refusal_collector::payload::Budget;
use refusal_collector::receiver::{self, Feed};
use refusal_collector::telemetry::own::{Own, Transport};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::Code;

/// An authority of our own, and a place for its files.
struct Authority {
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
    dir: TempDir,
}

struct Identity {
    cert: PathBuf,
    key: PathBuf,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("ca.pem"), certificate.pem()).unwrap();
        Authority { certificate, issuer: Issuer::new(params, key), dir }
    }

    fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// Writes a certificate for `localhost` and its key to files of this name.
    fn identity(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let file = |kind: &str| self.dir.path().join(format!("{name}.{kind}.pem"));
        let identity = Identity { cert: file("cert"), key: file("key") };
        std::fs::write(&identity.cert, certificate.pem()).unwrap();
        std::fs::write(&identity.key, key.serialize_pem()).unwrap();
        identity
    }

    fn server_tls(&self) -> ServerTls {
        let Identity { cert, key } = self.identity("server");
        ServerTls { cert_file: Some(cert), key_file: Some(key), ..ServerTls::default() }
    }

    /// A client that trusts this authority.
    async fn connect(
        &self,
        address: SocketAddr,
        client: Client<'_>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ClientConfig::builder_with_provider(provider).with_protocol_versions(client.versions).unwrap();
        let builder = builder.with_root_certificates(roots);
        let mut config = match client.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let chain = vec![CertificateDer::from_pem_file(&identity.cert).unwrap()];
                let key = PrivateKeyDer::from_pem_file(&identity.key).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = client.alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, connect(address).await).await
    }
}

struct Client<'a> {
    versions: &'static [&'static SupportedProtocolVersion],
    identity: Option<&'a Identity>,
    alpn: &'a [&'a str],
}

impl Default for Client<'_> {
    fn default() -> Self {
        Client { versions: rustls::ALL_VERSIONS, identity: None, alpn: &["h2", "http/1.1"] }
    }
}

/// Both ports with the same TLS.
async fn start(tls: ServerTls) -> Stage {
    let mut setup = Setup::default();
    setup.grpc.tls = Some(tls.clone());
    setup.http.tls = Some(tls);
    setup.start().await
}

async fn export_over(stream: TlsStream<TcpStream>) -> Result<Code, hyper::Error> {
    let mut client = Http2::over(stream).await?;
    let answer = client.send(call(Signal::Traces.grpc_path(), &[], pieces([frame(0, &spans(1, 1))]))).await?;
    Ok(answer.status().code())
}

#[tokio::test]
async fn both_protocols_are_spoken_over_tls() {
    let authority = Authority::new();
    let stage = start(authority.server_tls()).await;
    let stream = authority.connect(stage.grpc(), Client::default()).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    assert_eq!(export_over(stream).await.unwrap(), Code::Ok);
    for (alpn, protocol) in [(&["h2", "http/1.1"][..], "h2"), (&["http/1.1"], "http/1.1")] {
        let client = Client { alpn, ..Client::default() };
        let stream = authority.connect(stage.http(), client).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol.as_bytes()));
    }
    let client = Client { alpn: &["http/1.1"], ..Client::default() };
    let mut stream = authority.connect(stage.http(), client).await.unwrap();
    let request = "POST /v1/traces HTTP/1.1\r\nhost: c\r\ncontent-type: application/x-protobuf\r\n\
                   connection: close\r\ncontent-length: 0\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(stage.fake.count(), 2);
    stage.shutdown().await;
}

#[tokio::test]
async fn plain_text_on_a_tls_port_is_not_served() {
    let authority = Authority::new();
    let stage = start(authority.server_tls()).await;
    let mut stream = connect(stage.http()).await;
    stream.write_all(b"POST /v1/traces HTTP/1.1\r\nhost: c\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    assert_eq!(stage.fake.count(), 0);
}

#[tokio::test]
async fn the_oldest_version_is_configurable() {
    let authority = Authority::new();
    static TLS12: [&SupportedProtocolVersion; 1] = [&version::TLS12];
    let tls12 = || Client { versions: &TLS12, ..Client::default() };
    let stage = start(authority.server_tls()).await;
    assert!(authority.connect(stage.grpc(), tls12()).await.is_ok());
    let stage = start(ServerTls { min_version: TlsVersion::Tls13, ..authority.server_tls() }).await;
    assert!(authority.connect(stage.grpc(), tls12()).await.is_err());
    assert!(authority.connect(stage.grpc(), Client::default()).await.is_ok());
}

#[tokio::test]
async fn with_a_client_ca_only_its_certificates_get_in() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let stage = start(ServerTls { client_ca_file: Some(clients.ca()), ..authority.server_tls() }).await;
    let (known, stranger) = (clients.identity("known"), authority.identity("stranger"));
    let as_client = |identity| Client { identity, ..Client::default() };
    let stream = authority.connect(stage.grpc(), as_client(Some(&known))).await.unwrap();
    assert_eq!(export_over(stream).await.unwrap(), Code::Ok);
    for identity in [None, Some(&stranger)] {
        // In TLS 1.3 the client is ready before the server has seen its certificate.
        if let Ok(stream) = authority.connect(stage.grpc(), as_client(identity)).await {
            assert!(export_over(stream).await.is_err());
        }
    }
    assert_eq!(stage.fake.count(), 1);
}

#[tokio::test]
async fn certificates_are_read_anew_without_dropping_a_connection() {
    let authority = Authority::new();
    let reload_interval = Some(Duration::from_millis(20));
    let stage = start(ServerTls { reload_interval, ..authority.server_tls() }).await;
    let served = async || {
        let stream = authority.connect(stage.grpc(), Client::default()).await.unwrap();
        let certificate = stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned();
        (stream, certificate)
    };
    let (stream, first) = served().await;
    let mut old = Http2::over(stream).await.unwrap();

    let Identity { cert, key } = authority.identity("server");
    let renewed = CertificateDer::from_pem_file(&cert).unwrap();
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_eq!(served().await.1, renewed);
    assert_ne!(first, renewed);

    // What cannot be read leaves the last one in force.
    std::fs::write(&key, "no key").unwrap();
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_eq!(served().await.1, renewed);

    let answer = old.export(Signal::Traces, &[], pieces([frame(0, &spans(1, 1))])).await;
    assert_eq!(answer.status().code(), Code::Ok);
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_not_waited_for() {
    let authority = Authority::new();
    let mut setup = Setup::default();
    setup.http.tls = Some(authority.server_tls());
    setup.http.read_header_timeout = Duration::from_millis(100);
    let stage = setup.start().await;
    let mut stream = connect(stage.http()).await;
    let ended = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut [0; 8])).await.unwrap();
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
}

#[tokio::test]
async fn what_is_wrong_with_the_files_is_said_at_the_start() {
    let authority = Authority::new();
    let good = authority.server_tls();
    let other_key = authority.identity("other").key;
    let missing = authority.dir.path().join("missing.pem");
    for (tls, expected) in [
        (
            ServerTls { key_file: None, ..good.clone() },
            "receiver otlp (grpc): tls needs a cert_file and a key_file".to_owned(),
        ),
        (ServerTls { cert_file: Some(missing.clone()), ..good.clone() }, missing.display().to_string()),
        (ServerTls { cert_file: good.key_file.clone(), ..good.clone() }, "no certificate in it".to_owned()),
        (ServerTls { key_file: Some(other_key), ..good.clone() }, "receiver otlp (grpc): ".to_owned()),
        (ServerTls { client_ca_file: Some(missing.clone()), ..good }, missing.display().to_string()),
    ] {
        let mut setup = Setup::default();
        setup.grpc.tls = Some(tls);
        let config = OtlpReceiver { grpc: Some(setup.grpc), http: None };
        let feed = Feed { receiver: ComponentId::new("otlp"), config, consumer: Fake::default() };
        let (budget, own) = (Budget::new(1 << 20), Own::new());
        let error = receiver::start(vec![feed], NO_TAPS, &setup.extensions, &budget, setup.wait, &own)
            .await
            .unwrap_err();
        assert!(error.to_string().contains(&expected), "{error}");
    }
}

#[tokio::test]
async fn without_a_token_nobody_gets_in_and_with_it_everybody() {
    let id = ComponentId::new("bearertokenauth");
    let token = Some(Secret::new("hunter2".to_owned()));
    let extension = Extension::BearerTokenAuth(BearerTokenAuth { token, ..BearerTokenAuth::default() });
    let mut setup = Setup::default();
    setup.extensions.insert(id.clone(), extension);
    setup.grpc.auth = Some(Authentication { authenticator: id.clone() });
    setup.http.auth = Some(Authentication { authenticator: id });
    let stage = setup.start().await;
    for (authorization, gets_in) in
        [(None, false), (Some("Bearer wrong"), false), (Some("Bearer hunter2"), true)]
    {
        let headers: Vec<_> = authorization.map(|a| ("authorization", a)).into_iter().collect();
        let mut client = Http2::connect(stage.grpc()).await;
        let status = client.export(Signal::Traces, &headers, pieces([frame(0, &spans(1, 1))])).await.status();
        assert_eq!(
            status.code(),
            if gets_in { Code::Ok } else { Code::Unauthenticated },
            "{authorization:?}"
        );
        assert!(!status.message().contains("hunter2"));

        let mut request = http::Request::post("/v1/traces").header("content-type", "application/x-protobuf");
        request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let request = request.body(pieces([spans(1, 1)])).unwrap();
        let answer = http1_connect(stage.http()).await.send_request(request).await.unwrap();
        let expected = if gets_in { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
        assert_eq!(answer.status(), expected, "{authorization:?}");
        assert_eq!(answer.headers().contains_key("www-authenticate"), !gets_in);
    }
    assert_eq!(stage.fake.count(), 2);
    assert_eq!(stage.account(Transport::Grpc, Signal::Traces).failed.requests, 2);
}
