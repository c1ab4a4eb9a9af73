//! The fetcher in front of real servers, with names that mean what the test says.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt, future};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use secateur_proto::{ErrorCode, ServiceError};
use tokio::{net::TcpListener, time::Instant};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ClientConfig, RootCertStore, ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer},
    },
};

use super::{Bounds, Fetcher, Means};
use crate::{
    admission::{Admission, Held},
    lookup::Lookup,
    request::{Fetched, PictureUrl},
};

#[path = "../../tests/it/support/web.rs"]
mod web;

use web::{BIG, PNG, Web};

const PARAM: &str = "messages[0].content[0].image_url.url";
const BOUNDS: Bounds =
    Bounds { timeout: Duration::from_secs(1), picture_bytes_max: 1 << 20, cache_bytes: 1 << 20, concurrency: 16 };

/// Answers the lookups of every name, the last answer again and again, and counts them.
fn answers(answers: &[&str]) -> (Lookup, Arc<AtomicUsize>) {
    let answers: Vec<Vec<SocketAddr>> =
        answers.iter().map(|answer| answer.split(' ').map(|address| address.parse().unwrap()).collect()).collect();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let lookup: Lookup = Arc::new(move |_| {
        let index = count.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1);
        future::ready(Ok(answers[index].clone())).boxed()
    });
    (lookup, asked)
}

fn trust(roots: RootCertStore) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    Arc::new(builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots).with_no_client_auth())
}

fn fetcher(hosts: &[String], bounds: Bounds, lookup: Lookup) -> Fetcher {
    let rules = hosts.iter().map(|host| host.parse().unwrap()).collect();
    Fetcher::new(rules, bounds, Means { lookup, tls: trust(RootCertStore::empty()) })
}

/// A fetcher with the hosts of the cases.
fn fetcher_for(web: &Web, bounds: Bounds) -> Fetcher {
    fetcher(&web::hosts(web), bounds, answers(&["127.0.0.1:80"]).0)
}

fn held(bytes_max: usize) -> Arc<Held> {
    Arc::new(Admission::new(1, 1, bytes_max).holder(IpAddr::from(Ipv4Addr::LOCALHOST).into()))
}

async fn fetch_with(fetcher: &Fetcher, urls: &[&str], held: &Arc<Held>) -> Result<Fetched, ServiceError> {
    let wanted = urls.iter().map(|url| PictureUrl { url: (*url).to_owned(), param: PARAM.to_owned() }).collect();
    fetcher.fetch(wanted, held, Instant::now() + Duration::from_secs(20)).await
}

async fn fetch(fetcher: &Fetcher, url: &str) -> Result<Bytes, ServiceError> {
    fetch_with(fetcher, &[url], &held(1 << 30)).await.map(|mut fetched| fetched.remove(url).unwrap())
}

fn told(outcome: Result<Bytes, ServiceError>) -> String {
    let error = outcome.unwrap_err();
    assert_eq!((error.code, error.param.as_deref()), (ErrorCode::InvalidImage, Some(PARAM)), "{error}");
    error.message
}

#[tokio::test]
async fn hostile_urls_and_servers_are_refused_in_time_and_say_why() {
    let web = Web::start().await;
    let fetcher = fetcher_for(&web, BOUNDS);
    let cases = web::cases(&web);
    assert!(cases.len() > 60);
    let outcomes = future::join_all(cases.iter().map(|case| fetch(&fetcher, &case.url))).await;
    for (case, outcome) in cases.iter().zip(outcomes) {
        let url: String = case.url.chars().take(100).collect();
        let error = outcome.expect_err(&url);
        assert_eq!((error.code, error.param.as_deref()), (ErrorCode::InvalidImage, Some(PARAM)), "{url}: {error}");
        let says = case.says.iter().any(|says| error.message.starts_with(&format!("{PARAM} {says}")));
        assert!(says, "{url}: {error}");
    }
    assert_eq!(web.hits("/picture.png"), 0, "every way to it leads over something that is not allowed");
}

#[tokio::test]
async fn pictures_are_known_by_their_bytes_however_they_are_sent() {
    let web = Web::start().await;
    let fetcher = fetcher_for(&web, BOUNDS);
    for path in ["/picture.png", "/picture.png?a=b#c", "/chunks", "/unsized", "/hop/0", "/hop/3", "/to?/picture.png"] {
        assert_eq!(fetch(&fetcher, &web.url(path)).await.unwrap(), PNG, "{path}");
    }
    for (path, start) in [("/jpeg", b"\xff\xd8\xff".as_slice()), ("/webp", b"RIFF"), ("/gif", b"GIF89a")] {
        assert!(fetch(&fetcher, &web.url(path)).await.unwrap().starts_with(start), "{path}");
    }
}

#[tokio::test]
async fn requests_say_no_more_than_is_needed() {
    let web = Web::start().await;
    let fetcher = fetcher_for(&web, BOUNDS);
    fetch(&fetcher, &web.url("/to?/picture.png")).await.unwrap();
    let heads = web.heads();
    assert_eq!(heads.len(), 2);
    for head in heads {
        let names: Vec<&str> =
            head.lines().skip(1).filter_map(|line| line.split_once(':')).map(|(name, _)| name).collect();
        assert_eq!(names, ["host", "accept", "accept-encoding", "user-agent", "connection"], "{head}");
        assert!(head.contains(&format!("host: {}\r\n", web.address)) && head.contains("accept: image/*\r\n"), "{head}");
        assert!(head.contains("accept-encoding: identity\r\n"), "{head}");
    }
}

#[tokio::test]
async fn the_address_that_was_judged_is_the_one_that_is_asked() {
    let web = Web::start().await;
    let port = web.address.port();
    let hosts = [format!("turns.test:{port}"), format!("store.test:{port}!private")];
    let url = format!("http://turns.test:{port}/picture.png");
    // No route leads to the first address; a second lookup would lead to the server.
    let (lookup, asked) = answers(&[&format!("[2000::1]:{port}"), &web.address.to_string()]);
    assert!(told(fetch(&fetcher(&hosts, BOUNDS, lookup), &url).await).ends_with("could not be fetched from its host"));
    assert_eq!((asked.load(Ordering::SeqCst), web.heads().len()), (1, 0));
    // One private address among public ones.
    let (lookup, _) = answers(&[&format!("[2000::1]:{port} {}", web.address)]);
    assert!(told(fetch(&fetcher(&hosts, BOUNDS, lookup), &url).await).ends_with("could not be fetched from its host"));
    assert_eq!(web.heads().len(), 0);
    // A marked host may have private addresses, and each hop looks again.
    let (lookup, asked) = answers(&[&web.address.to_string()]);
    let store = |path: &str| format!("http://store.test:{port}{path}");
    assert_eq!(fetch(&fetcher(&hosts, BOUNDS, lookup), &store("/hop/1")).await.unwrap(), PNG);
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    let (lookup, _) = answers(&[&web.address.to_string(), &format!("169.254.169.254:{port}")]);
    let told = told(fetch(&fetcher(&hosts, BOUNDS, lookup), &store("/hop/2")).await);
    assert!(told.ends_with("could not be fetched from its host"), "{told}");
    assert_eq!(web.hits("/hop/2"), 1);
}

#[tokio::test]
async fn a_name_without_an_answer_reads_as_one_with_a_private_address() {
    let fails: Lookup = Arc::new(|_| future::ready(Err(std::io::ErrorKind::NotFound.into())).boxed());
    let hangs: Lookup = Arc::new(|_| future::pending().boxed());
    let (empty, private): (Lookup, _) =
        (Arc::new(|_| future::ready(Ok(Vec::new())).boxed()), answers(&["10.0.0.1:80"]).0);
    let mut texts = Vec::new();
    for lookup in [fails, hangs, empty, private] {
        texts.push(told(fetch(&fetcher(&["*".to_owned()], BOUNDS, lookup), "http://a.test/").await));
    }
    texts.dedup();
    assert_eq!(texts, [format!("{PARAM} could not be fetched from its host")]);
}

#[tokio::test]
async fn a_picture_is_fetched_once_for_all_who_want_it() {
    let web = Web::start().await;
    let fetcher = fetcher_for(&web, Bounds { timeout: Duration::from_secs(20), ..BOUNDS });
    let url = web.url("/gate");
    let all = future::join_all((0..8).map(|_| fetch(&fetcher, &url)));
    let open = async {
        while web.hits("/gate") == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        web.open_gate();
    };
    let (all, ()) = future::join(all, open).await;
    assert!(all.into_iter().all(|outcome| outcome.unwrap() == PNG));
    assert_eq!(fetch(&fetcher, &url).await.unwrap(), PNG);
    assert_eq!(web.hits("/gate"), 1);
}

#[tokio::test]
async fn nothing_is_kept_where_the_cache_is_off_or_the_fetch_failed() {
    let web = Web::start().await;
    let fetcher = fetcher_for(&web, Bounds { cache_bytes: 0, ..BOUNDS });
    for _ in 0..2 {
        fetch(&fetcher, &web.url("/picture.png")).await.unwrap();
        fetch(&fetcher, &web.url("/html")).await.unwrap_err();
    }
    assert_eq!((web.hits("/picture.png"), web.hits("/html")), (2, 2));
}

#[tokio::test]
async fn a_download_that_nobody_waits_for_ends() {
    let web = Web::start().await;
    let fetcher = fetcher_for(&web, Bounds { timeout: Duration::from_secs(600), concurrency: 1, ..BOUNDS });
    let url = web.url("/silent");
    {
        let fetch = fetch(&fetcher, &url);
        tokio::pin!(fetch);
        while web.hits("/silent") == 0 {
            let step = tokio::time::sleep(Duration::from_millis(5));
            tokio::select! { _ = &mut fetch => panic!("the server says nothing"), () = step => {} }
        }
    }
    assert_eq!(fetch_one_more(&fetcher, &web).await, PNG, "its slot is free");
    while web.open() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn fetch_one_more(fetcher: &Fetcher, web: &Web) -> Bytes {
    fetch(fetcher, &web.url("/picture.png")).await.unwrap()
}

#[tokio::test]
async fn a_request_whose_time_ends_is_told_so() {
    let web = Web::start().await;
    let fetcher = fetcher_for(&web, Bounds { timeout: Duration::from_secs(600), ..BOUNDS });
    let wanted = vec![PictureUrl { url: web.url("/silent"), param: PARAM.to_owned() }];
    let soon = Instant::now() + Duration::from_millis(100);
    let error = fetcher.fetch(wanted, &held(1 << 30), soon).await.unwrap_err();
    assert_eq!((error.code, error.param.as_deref()), (ErrorCode::Timeout, Some(PARAM)));
}

#[tokio::test]
async fn what_a_request_may_not_hold_is_not_fetched_and_others_are_not_hurt() {
    let web = Web::start().await;
    let fetcher = fetcher_for(&web, BOUNDS);
    let (poor, rich) = (held(BIG / 2), held(1 << 30));
    let url = web.url("/big.png");
    let urls = [url.as_str()];
    // The poor one begins the download, and the rich one joins it.
    let (refused, given) = future::join(fetch_with(&fetcher, &urls, &poor), fetch_with(&fetcher, &urls, &rich)).await;
    assert_eq!(refused.unwrap_err().code, ErrorCode::PayloadTooLarge);
    assert_eq!(given.unwrap()[&url].len(), PNG.len() + BIG);
    assert_eq!(web.hits("/big.png"), 2, "each has paid for its own");
    // From the cache it costs the same.
    fetch_with(&fetcher, &urls, &rich).await.unwrap();
    assert_eq!(fetch_with(&fetcher, &urls, &poor).await.unwrap_err().code, ErrorCode::PayloadTooLarge);
    assert_eq!(web.hits("/big.png"), 3);
}

#[tokio::test]
async fn the_first_failure_in_order_is_told_and_nothing_is_fetched_where_a_url_is_refused() {
    let web = Web::start().await;
    let fetcher = fetcher_for(&web, BOUNDS);
    let (fine, missing, html) = (web.url("/picture.png"), web.url("/status/404"), web.url("/html"));
    let error = fetch_with(&fetcher, &[&fine, "http://127.0.0.1:22/"], &held(1 << 30)).await.unwrap_err();
    assert!(error.message.contains("a host or a port"), "{error}");
    assert_eq!(web.heads().len(), 0);
    let error = fetch_with(&fetcher, &[&fine, &missing, &html], &held(1 << 30)).await.unwrap_err();
    assert!(error.message.ends_with("404"), "{error}");
}

#[tokio::test]
async fn servers_over_tls_must_be_signed_for_under_their_name() {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec!["store.test".to_owned()]).unwrap();
    let certificate = CertificateDer::from(cert.der().to_vec());
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let acceptor = TlsAcceptor::from(Arc::new(builder.with_single_cert(vec![certificate.clone()], key).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let names = Arc::new(Mutex::new(Vec::new()));
    let seen = names.clone();
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            seen.lock().unwrap().push(stream.get_ref().1.server_name().map(str::to_owned));
            let _ = stream.read(&mut [0; 4_096]).await;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", PNG.len());
            let _ = stream.write_all(&[head.as_bytes(), PNG].concat()).await;
            let _ = stream.shutdown().await;
        }
    });
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let port = address.port();
    let fetcher_with = |roots| {
        let rules = ["store.test", "other.test"].map(|host| format!("{host}:{port}!private").parse().unwrap());
        let (lookup, _) = answers(&[&address.to_string()]);
        Fetcher::new(rules.to_vec(), BOUNDS, Means { lookup, tls: trust(roots) })
    };
    let (knows, knows_nobody) = (fetcher_with(roots), fetcher_with(RootCertStore::empty()));
    let url = |host: &str| format!("https://{host}:{port}/a.png");
    assert_eq!(fetch(&knows, &url("STORE.test.")).await.unwrap(), PNG);
    for refused in [fetch(&knows, &url("other.test")).await, fetch(&knows_nobody, &url("store.test")).await] {
        assert!(told(refused).ends_with("could not be fetched from its host"));
    }
    assert_eq!(*names.lock().unwrap(), [Some("store.test".to_owned())]);
}
