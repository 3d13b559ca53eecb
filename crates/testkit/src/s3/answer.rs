//! One request: counted, struck by a fault perhaps, and carried out by the real server or not.

use super::fault::{ANYWHERE, Fault};
use super::kind::Kind;
use super::{Shared, lock};
use crate::serve::{AnyError, Mishap, Watched};
use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, HeaderMap};
use hyper::{Request, Response, StatusCode};
use s3s::Body;
use s3s::service::S3Service;
use std::future::poll_fn;
use std::pin::pin;

/// An answer as it was given once.
#[derive(Clone)]
pub(super) struct Remembered {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

pub(super) async fn answer(
    service: S3Service,
    state: Shared,
    request: Request<Incoming>,
) -> Result<Response<Watched<Body>>, AnyError> {
    let kind = Kind::of(&request);
    let sent = length(request.headers());
    let path = request.uri().path().to_owned();
    let fault = {
        let mut state = lock(&state);
        state.note(kind, |count| {
            count.requests += 1;
            count.bytes_received += sent.unwrap_or(0);
        });
        state.strike(kind, &path)
    };
    let place = |at: u64, length: Option<u64>| match (at, length) {
        (ANYWHERE, Some(length)) if length > 0 => lock(&state).random().u64(0..length),
        (ANYWHERE, _) => 0,
        (at, _) => at,
    };
    let bucket = path.trim_start_matches('/').split('/').next();
    let bucket = bucket.unwrap_or_default().to_owned();
    let watch = |body, mishap| {
        let (state, bucket) = (state.clone(), bucket.clone());
        Watched::new(body, mishap, move |n| {
            let mut state = lock(&state);
            state.note(kind, |count| count.bytes_sent += n);
            *state.sent.entry(bucket.clone()).or_default() += n;
        })
    };
    let refusal = |status: u16| -> Result<_, AnyError> {
        let body = Body::from(refusal_text(status));
        let mut refusal = Response::new(watch(body, Mishap::default()));
        *refusal.status_mut() = StatusCode::from_u16(status)?;
        Ok(refusal)
    };
    let request = match fault {
        Some(Fault::Refuse(status)) => {
            // A server that answers before it has read everything would break the connection under the client.
            drain(request.into_body(), u64::MAX).await;
            return refusal(status);
        }
        Some(Fault::Reset) => return Err("the test broke this connection".into()),
        Some(Fault::CutRequest(at)) => {
            drain(request.into_body(), place(at, sent)).await;
            return Err("the test broke this connection".into());
        }
        Some(Fault::FlipRequest(at)) => {
            let at = place(at, sent);
            let (parts, body) = request.into_parts();
            let mut bytes = BytesMut::from(collect(body).await?);
            if let Some(byte) = bytes.get_mut(at as usize) {
                *byte ^= 1;
            }
            Request::from_parts(parts, Body::from(bytes.freeze()))
        }
        _ => request.map(Body::from),
    };
    let question = format!("{} {}", request.method(), request.uri());
    if fault == Some(Fault::Stale) && matches!(kind, Kind::Head | Kind::List) {
        let first = lock(&state).first_answers.get(&question).cloned();
        return Ok(match first {
            Some(first) => first.answer().map(|body| watch(body, Mishap::default())),
            None => {
                let mut nothing = Response::new(watch(empty_listing(kind), Mishap::default()));
                if kind == Kind::Head {
                    *nothing.status_mut() = StatusCode::NOT_FOUND;
                }
                nothing
            }
        });
    }
    let answer = service.call(request).await.map_err(|e| format!("{e:?}"))?;
    let answer = match kind {
        Kind::Part | Kind::Complete | Kind::Abort => no_such_upload(answer).await?,
        _ => answer,
    };
    let mut answer = match kind {
        Kind::Head | Kind::List => {
            let (answer, remembered) = remember(answer).await?;
            let mut state = lock(&state);
            state.first_answers.entry(question).or_insert(remembered);
            answer
        }
        _ => answer,
    };
    let length = length(answer.headers());
    let mishap = match fault {
        Some(Fault::LoseAnswer) => return Err("the test lost this answer".into()),
        Some(Fault::FailAnswer(status)) => return refusal(status),
        Some(Fault::CutBody(at)) => Mishap {
            cut_after: Some(place(at, length)),
            ..Mishap::default()
        },
        Some(Fault::Shorten(at)) if answer.status().is_success() => {
            let at = place(at, length);
            answer.headers_mut().insert(CONTENT_LENGTH, at.into());
            Mishap {
                end_after: Some(at),
                ..Mishap::default()
            }
        }
        Some(Fault::FlipBit(at)) if answer.status().is_success() => Mishap {
            flip_at: Some(place(at, length)),
            ..Mishap::default()
        },
        Some(Fault::Stall(pause)) => Mishap {
            stall: Some((length.unwrap_or(0) / 2, pause)),
            ..Mishap::default()
        },
        _ => Mishap::default(),
    };
    Ok(answer.map(|body| watch(body, mishap)))
}

/// What S3 says of an upload that is over or was never begun; s3s-fs calls it forbidden.
async fn no_such_upload(answer: Response<Body>) -> Result<Response<Body>, AnyError> {
    if answer.status() != StatusCode::FORBIDDEN {
        return Ok(answer);
    }
    let (mut parts, body) = answer.into_parts();
    let said = String::from_utf8_lossy(&collect(body).await?).into_owned();
    let told = said.replace("AccessDenied", "NoSuchUpload");
    if told != said {
        parts.status = StatusCode::NOT_FOUND;
        parts.headers.remove(CONTENT_LENGTH);
    }
    Ok(Response::from_parts(parts, Body::from(told)))
}

impl Remembered {
    fn answer(self) -> Response<Body> {
        let mut answer = Response::new(Body::from(self.body));
        *answer.status_mut() = self.status;
        *answer.headers_mut() = self.headers;
        answer
    }
}

async fn remember(answer: Response<Body>) -> Result<(Response<Body>, Remembered), AnyError> {
    let (parts, body) = answer.into_parts();
    let remembered = Remembered {
        status: parts.status,
        headers: parts.headers,
        body: collect(body).await?,
    };
    Ok((remembered.clone().answer(), remembered))
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn empty_listing(kind: Kind) -> Body {
    match kind {
        Kind::List => Body::from(
            "<ListBucketResult><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>"
                .to_owned(),
        ),
        _ => Body::empty(),
    }
}

/// What S3 says beside a status.
fn refusal_text(status: u16) -> String {
    let code = match status {
        403 => "AccessDenied",
        409 => "ConditionalRequestConflict",
        412 => "PreconditionFailed",
        429 => "TooManyRequests",
        503 => "SlowDown",
        _ => "InternalError",
    };
    format!("<Error><Code>{code}</Code><Message>as the test wished</Message></Error>")
}

/// Reads and forgets up to `most` bytes.
async fn drain(body: Incoming, most: u64) {
    let mut body = pin!(body);
    let mut seen = 0;
    while seen < most {
        match poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            Some(Ok(frame)) => seen += frame.data_ref().map_or(0, |data| data.len() as u64),
            _ => return,
        }
    }
}

async fn collect<B>(body: B) -> Result<Bytes, AnyError>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<AnyError>,
{
    let mut body = pin!(body);
    let mut whole = BytesMut::new();
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        if let Ok(data) = frame.map_err(Into::into)?.into_data() {
            whole.extend_from_slice(&data);
        }
    }
    Ok(whole.freeze())
}
