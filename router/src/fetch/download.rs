//! The download of one picture: hops over redirects, and a body that is held to size, kind and time as it arrives.

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{
    Request, Response, StatusCode,
    body::{Body, Incoming},
    client::conn::http1,
    header::{ACCEPT, ACCEPT_ENCODING, CONNECTION, HOST, LOCATION, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::{
    cache::Found,
    dial::{Dialer, Stream},
    failure::Failure,
    hosts::HostRule,
    target::Target,
};
use crate::{admission::Held, request::is_known_format};

/// Most redirects that are followed.
const REDIRECTS_MAX: usize = 3;
/// Largest head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Bytes by which every known format is known.
const MAGIC_BYTES: usize = 12;

/// Downloads pictures.
pub struct Downloader {
    /// The allow-list.
    pub rules: Vec<HostRule>,
    /// Connects to hosts.
    pub dialer: Dialer,
    /// Time for one picture, over all hops.
    pub timeout: Duration,
    /// Largest picture, in bytes.
    pub bytes_max: usize,
}

/// An answer, and the connection that its body comes over.
struct Answer {
    response: Response<Incoming>,
    /// Ends the connection when it is dropped.
    _connection: AbortOnDropHandle<()>,
}

impl Downloader {
    /// Downloads the picture at `target`. Its bytes are counted in `held` as they arrive.
    pub async fn download(&self, mut target: Target, held: &Held) -> Result<Found, Failure> {
        let end = Instant::now() + self.timeout;
        for _ in 0..=REDIRECTS_MAX {
            let stream = self.dialer.dial(&target, end).await?;
            let answer = timeout_at(end, ask(stream, &target)).await.map_err(|_| self.slow())??;
            let status = answer.response.status();
            match location(&answer.response) {
                Some(location) => target = target.redirected(&location, &self.rules)?,
                None if status == StatusCode::OK => return self.read(answer, end, held).await,
                None => return Err(Failure::Status(status.as_u16())),
            }
        }
        Err(Failure::Redirects(REDIRECTS_MAX))
    }

    /// Reads a body. What is no picture by its first bytes, or too large by the announced length, is not read further.
    async fn read(&self, answer: Answer, end: Instant, held: &Held) -> Result<Found, Failure> {
        let Answer { response, _connection } = answer;
        let mut body = response.into_body();
        if body.size_hint().lower() > self.bytes_max as u64 {
            return Err(Failure::TooLarge(self.bytes_max));
        }
        let (mut bytes, mut hasher) = (Vec::new(), blake3::Hasher::new());
        while let Some(frame) = timeout_at(end, body.frame()).await.map_err(|_| self.slow())? {
            let frame = frame.map_err(|_| Failure::CutShort)?;
            let Ok(data) = frame.into_data() else { continue };
            if data.len() > self.bytes_max - bytes.len() {
                return Err(Failure::TooLarge(self.bytes_max));
            }
            held.grow(data.len()).map_err(Failure::Room)?;
            hasher.update(&data);
            let is_judged = bytes.len() >= MAGIC_BYTES;
            bytes.extend_from_slice(&data);
            if !is_judged && bytes.len() >= MAGIC_BYTES && !is_known_format(&bytes) {
                return Err(Failure::NotAPicture);
            }
        }
        if !is_known_format(&bytes) {
            return Err(Failure::NotAPicture);
        }
        Ok(Found { digest: hasher.finalize(), bytes: bytes.into_boxed_slice().into() })
    }

    fn slow(&self) -> Failure {
        Failure::Slow(self.timeout.as_secs())
    }
}

/// Asks for the target's picture, over a connection that is used for nothing else.
async fn ask(stream: Box<dyn Stream>, target: &Target) -> Result<Answer, Failure> {
    let request = request(target)?;
    let broken = |error: hyper::Error| {
        tracing::info!(host = target.host(), %error, "the host of a picture does not answer in HTTP");
        Failure::Unreachable
    };
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES_MAX);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let connection = tokio::spawn(async move {
        // What goes wrong is reported to the sender or to the body.
        let _ = connection.await;
    });
    let connection = AbortOnDropHandle::new(connection);
    let response = sender.send_request(request).await.map_err(broken)?;
    Ok(Answer { response, _connection: connection })
}

fn request(target: &Target) -> Result<Request<Empty<Bytes>>, Failure> {
    let request = Request::get(target.path())
        .header(HOST, target.authority())
        .header(ACCEPT, "image/*")
        .header(ACCEPT_ENCODING, "identity")
        .header(USER_AGENT, concat!("secateur/", env!("CARGO_PKG_VERSION")))
        .header(CONNECTION, "close");
    request.body(Empty::new()).map_err(|_| Failure::Malformed)
}

/// Where an answer redirects to.
fn location(response: &Response<Incoming>) -> Option<Cow<'_, str>> {
    let is_redirect = matches!(
        response.status(),
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    let location = response.headers().get(LOCATION).filter(|_| is_redirect)?;
    Some(String::from_utf8_lossy(location.as_bytes()))
}
