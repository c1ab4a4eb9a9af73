//! A web server on loopback that answers as servers of pictures do, and as they should not. What it does is in the path.
//! The fetcher's own tests use it as well.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

/// The first bytes of a PNG, and some more.
pub const PNG: &[u8] = b"\x89PNG\r\n\x1a\n and then some";
/// A picture of which a few take much memory.
pub const BIG: usize = 512 * 1024;

/// The server; it ends with the test's runtime.
pub struct Web {
    pub address: SocketAddr,
    seen: Arc<Seen>,
}

struct Seen {
    /// Heads of all requests.
    heads: Mutex<Vec<String>>,
    /// Connections that are open.
    open: AtomicUsize,
    /// Permits to answer requests for `/gate`.
    gate: Semaphore,
}

impl Web {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen { heads: Mutex::default(), open: AtomicUsize::new(0), gate: Semaphore::new(0) });
        let shared = seen.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let seen = shared.clone();
                tokio::spawn(async move {
                    seen.open.fetch_add(1, Ordering::SeqCst);
                    // A client that leaves is no failure.
                    let _ = serve(stream, &seen).await;
                    seen.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, seen }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// How often a path was asked for.
    pub fn hits(&self, path: &str) -> usize {
        let start = format!("GET {path} ");
        self.heads().iter().filter(|head| head.starts_with(&start)).count()
    }

    /// The heads of all requests, in lower case but for the first line.
    pub fn heads(&self) -> Vec<String> {
        self.seen.heads.lock().unwrap().clone()
    }

    pub fn open(&self) -> usize {
        self.seen.open.load(Ordering::SeqCst)
    }

    /// Lets requests for `/gate` be answered.
    pub fn open_gate(&self) {
        self.seen.gate.add_permits(1_000);
    }
}

/// A URL that must not be fetched, and what the client is told: one of these.
pub struct Case {
    pub url: String,
    pub says: &'static [&'static str],
}

const UNREACHABLE: &[&str] = &["could not be fetched from its host"];
const REDIRECTED: &[&str] = &["is redirected to where pictures are not fetched from here"];
const NOT_LISTED: &[&str] = &["names a host or a port that pictures are not fetched from here"];
const NOT_A_PICTURE: &[&str] = &["is not a PNG, JPEG, WebP or GIF file"];
const SLOW: &[&str] = &["did not arrive within 1 seconds"];
const CUT_SHORT: &[&str] = &["ended before it was whole"];
const MALFORMED: &[&str] = &["is not a valid URL"];
const CREDENTIALS: &[&str] = &["must not carry a user name or a password"];
// A busy machine may not get through what has no end.
const TOO_LARGE: &[&str] = &["is larger than", "did not arrive within 1 seconds"];

/// The allow-list for [`cases`]: this server, its port under a name without leave for private addresses, and the web.
pub fn hosts(web: &Web) -> Vec<String> {
    let (address, port) = (web.address, web.address.port());
    vec![format!("{address}!private"), format!("localhost:{port}"), "*".to_owned()]
}

/// URLs that are refused, by a fetcher with these [`hosts`] and one second for a picture.
pub fn cases(web: &Web) -> Vec<Case> {
    let port = web.address.port();
    let answered = [
        ("/silent", SLOW),
        ("/slow-head", SLOW),
        ("/slow-body", SLOW),
        ("/hints-without-end", SLOW),
        ("/endless", TOO_LARGE),
        ("/endless-chunks", TOO_LARGE),
        ("/huge", &["is larger than"]),
        ("/html", NOT_A_PICTURE),
        ("/gzip", NOT_A_PICTURE),
        ("/empty", NOT_A_PICTURE),
        ("/three-bytes", NOT_A_PICTURE),
        ("/short", CUT_SHORT),
        ("/cut-chunk", CUT_SHORT),
        ("/bad-chunk", CUT_SHORT),
        ("/two-lengths", UNREACHABLE),
        ("/many-headers", UNREACHABLE),
        ("/long-header", UNREACHABLE),
        ("/garbage", UNREACHABLE),
        ("/nothing", UNREACHABLE),
        ("/status/404", &["was answered with status 404"]),
        ("/status/500", &["was answered with status 500"]),
        ("/status/206", &["was answered with status 206"]),
        ("/status/204", &["was answered with status 204"]),
        ("/status/302", &["was answered with status 302"]),
        ("/loop", &["is redirected more than 3 times"]),
        ("/hop/4", &["is redirected more than 3 times"]),
        ("/to?file:///etc/passwd", REDIRECTED),
        ("/to?data:image/png;base64,iVBORw0KGgo=", REDIRECTED),
        ("/to?ftp://127.0.0.1/a.png", REDIRECTED),
        ("/to?http://127.0.0.1:22/", REDIRECTED),
        ("/to?//user@127.0.0.1/", REDIRECTED),
        ("/to?http://[", REDIRECTED),
        ("/to?http://127.0.0.1/a.png", UNREACHABLE),
        ("/to?http://169.254.169.254/latest/meta-data/", UNREACHABLE),
    ];
    let answered = answered.into_iter().map(|(path, says)| Case { url: web.url(path), says });
    let own = web.address;
    let asked = [
        (format!("/to?http://localhost:{port}/picture.png"), UNREACHABLE),
        (format!("http://localhost:{port}/picture.png"), UNREACHABLE),
        (format!("http://LOCALHOST:{port}/picture.png"), UNREACHABLE),
        (format!("http://localhost.:{port}/picture.png"), UNREACHABLE),
        (format!("http://lоcalhost:{port}/picture.png"), NOT_LISTED),
        (format!("https://{own}/picture.png"), UNREACHABLE),
        (format!("http://user:word@{own}/picture.png"), CREDENTIALS),
        (format!("http://user@{own}/picture.png"), CREDENTIALS),
        ("http://127.0.0.1:22/".to_owned(), NOT_LISTED),
        ("http://example.com:6379/".to_owned(), NOT_LISTED),
        ("http://127.0.0.1/".to_owned(), UNREACHABLE),
        ("http://127.0.0.1./".to_owned(), UNREACHABLE),
        ("http://2130706433/".to_owned(), UNREACHABLE),
        ("http://0x7f.1/".to_owned(), UNREACHABLE),
        ("http://0177.0.0.1/".to_owned(), UNREACHABLE),
        ("http://１２７.０.０.１/".to_owned(), UNREACHABLE),
        ("http://0/".to_owned(), UNREACHABLE),
        ("http://10.0.0.1/".to_owned(), UNREACHABLE),
        ("http://100.64.0.1/".to_owned(), UNREACHABLE),
        ("http://169.254.169.254/latest/meta-data/".to_owned(), UNREACHABLE),
        ("http://[::1]/".to_owned(), UNREACHABLE),
        ("http://[::]/".to_owned(), UNREACHABLE),
        ("http://[::ffff:127.0.0.1]/".to_owned(), UNREACHABLE),
        ("http://[64:ff9b::7f00:1]/".to_owned(), UNREACHABLE),
        ("http://[fe80::1]/".to_owned(), UNREACHABLE),
        ("http://[fd00:ec2::254]/".to_owned(), UNREACHABLE),
        ("http://[::1".to_owned(), MALFORMED),
        ("http://[fe80::1%25eth0]/".to_owned(), MALFORMED),
        ("http://a b/".to_owned(), MALFORMED),
        ("http://".to_owned(), MALFORMED),
        (format!("{}?{}", web.url("/picture.png"), "x".repeat(9_000)), &["must be a URL of at most 8192 bytes"]),
    ];
    let asked = asked.into_iter().map(|(url, says)| {
        let url = if url.starts_with('/') { web.url(&url) } else { url };
        Case { url, says }
    });
    answered.chain(asked).collect()
}

async fn serve(mut stream: TcpStream, seen: &Seen) -> std::io::Result<()> {
    let Some(head) = read_head(&mut stream).await? else { return Ok(()) };
    let (first, rest) = head.split_once("\r\n").unwrap_or((&head, ""));
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    seen.heads.lock().unwrap().push(format!("{first}\r\n{}", rest.to_ascii_lowercase()));
    let sleep = || tokio::time::sleep(Duration::from_millis(50));
    let (name, argument) = path.split_once('?').unwrap_or((&path, ""));
    match name {
        "/picture.png" => say(&mut stream, "200 OK", &[], PNG).await?,
        "/other.png" => say(&mut stream, "200 OK", &[], b"\x89PNG\r\n\x1a\n and another").await?,
        "/jpeg" => say(&mut stream, "200 OK", &["content-type: text/html"], b"\xff\xd8\xff and then some").await?,
        "/webp" => say(&mut stream, "200 OK", &[], b"RIFF\x10\0\0\0WEBP and so on").await?,
        "/gif" => say(&mut stream, "200 OK", &["set-cookie: a=b"], b"GIF89a and then some").await?,
        "/big.png" => say(&mut stream, "200 OK", &[], &[PNG, &vec![0; BIG]].concat()).await?,
        "/chunks" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
            for byte in PNG {
                stream.write_all(&[b'1', b'\r', b'\n', *byte, b'\r', b'\n']).await?;
            }
            stream.write_all(b"0\r\n\r\n").await?;
        }
        "/unsized" => stream.write_all(&[b"HTTP/1.0 200 OK\r\n\r\n", PNG].concat()).await?,
        "/gate" => {
            let _permit = seen.gate.acquire().await;
            say(&mut stream, "200 OK", &[], PNG).await?;
        }
        "/to" => say(&mut stream, "302 Found", &["set-cookie: a=b", &format!("location: {argument}")], b"").await?,
        "/loop" => say(&mut stream, "301 Moved", &["location: loop"], b"").await?,
        "/silent" => wait_for_the_end(&mut stream).await?,
        "/slow-head" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nx-slow: ").await?;
            loop {
                stream.write_all(b"x").await?;
                sleep().await;
            }
        }
        "/slow-body" => {
            stream.write_all(&[b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n", PNG].concat()).await?;
            loop {
                stream.write_all(b"x").await?;
                sleep().await;
            }
        }
        "/hints-without-end" => loop {
            stream.write_all(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n").await?;
            sleep().await;
        },
        "/endless" => {
            stream.write_all(&[b"HTTP/1.1 200 OK\r\n\r\n", PNG].concat()).await?;
            loop {
                stream.write_all(&[0; 65_536]).await?;
            }
        }
        "/endless-chunks" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
            stream.write_all(&[format!("{:x}\r\n", PNG.len()).as_bytes(), PNG, b"\r\n"].concat()).await?;
            loop {
                stream.write_all(&[b"10000\r\n".as_slice(), &[0; 65_536], b"\r\n"].concat()).await?;
            }
        }
        "/huge" => {
            stream.write_all(&[b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n", PNG].concat()).await?;
            wait_for_the_end(&mut stream).await?;
        }
        "/html" => say(&mut stream, "200 OK", &["content-type: image/png"], b"<html>not a picture</html>").await?,
        "/gzip" => {
            let bomb = b"\x1f\x8b\x08\0\0\0\0\0\0\xff a picture, if it were inflated";
            say(&mut stream, "200 OK", &["content-encoding: gzip", "content-type: image/png"], bomb).await?;
        }
        "/empty" => say(&mut stream, "200 OK", &[], b"").await?,
        "/three-bytes" => say(&mut stream, "200 OK", &[], b"\x89PN").await?,
        "/short" => stream.write_all(&[b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n", PNG].concat()).await?,
        "/cut-chunk" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
            stream.write_all(&[b"ff\r\n", PNG].concat()).await?;
        }
        "/bad-chunk" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
            stream.write_all(b"zz\r\n").await?;
        }
        "/two-lengths" => {
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\ncontent-length: 21\r\n\r\n";
            stream.write_all(&[head, PNG].concat()).await?;
        }
        "/many-headers" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
            for number in 0..10_000 {
                stream.write_all(format!("x-{number}: y\r\n").as_bytes()).await?;
            }
            stream.write_all(&[b"\r\n", PNG].concat()).await?;
        }
        "/long-header" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nx: ").await?;
            for _ in 0..64 {
                stream.write_all(&[b'y'; 65_536]).await?;
            }
            stream.write_all(&[b"\r\n\r\n", PNG].concat()).await?;
        }
        "/garbage" => stream.write_all(b"SSH-2.0-OpenSSH_9.9\r\n").await?,
        "/nothing" => {}
        _ => match name.strip_prefix("/status/") {
            Some(status) => say(&mut stream, &format!("{status} So"), &[], PNG).await?,
            None => match name.strip_prefix("/hop/").and_then(|left| left.parse::<usize>().ok()) {
                Some(0) => say(&mut stream, "200 OK", &[], PNG).await?,
                Some(left) => say(&mut stream, "307 Go on", &[&format!("location: {}", left - 1)], b"").await?,
                None => say(&mut stream, "404 Not Found", &[], b"").await?,
            },
        },
    }
    stream.shutdown().await?;
    wait_for_the_end(&mut stream).await
}

async fn say(stream: &mut TcpStream, status: &str, headers: &[&str], body: &[u8]) -> std::io::Result<()> {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat()).await
}

/// Reads and discards until the client closes.
async fn wait_for_the_end(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut piece = [0; 4_096];
    while stream.read(&mut piece).await? > 0 {}
    Ok(())
}

async fn read_head(stream: &mut TcpStream) -> std::io::Result<Option<String>> {
    let (mut head, mut piece) = (Vec::new(), [0; 4_096]);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut piece).await? {
            0 => return Ok(None),
            count => head.extend_from_slice(&piece[..count]),
        }
        // A client that speaks TLS never comes to the end of a head.
        if !head.starts_with(&b"GET "[..head.len().min(4)]) {
            return Ok(None);
        }
    }
    Ok(Some(String::from_utf8_lossy(&head).into_owned()))
}
