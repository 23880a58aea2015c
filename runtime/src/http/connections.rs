//! The listener's connections, from the first byte to the last.

use super::slots::{Slot, Slots};
use crate::context::Context;
use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::io::ErrorKind;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// The head of a request must be whole this long after its connection opened, or after the answer before it.
const HEAD_DEADLINE: Duration = Duration::from_secs(30);
/// How much of a head is waited for, in bytes. The read that passes this may bring as much again.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// How many bytes the bodies of strangers may hold together; more where one body may be longer.
const STRANGE_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// So many bodies of the longest kind have room at least.
const STRANGE_BODIES: u64 = 4;
/// A connection that cannot be accepted, for want of descriptors say, is tried again after this.
const ACCEPT_RETRY: Duration = Duration::from_secs(1);

/// Serves connections until the runtime stops; a request that is being answered then is still answered.
pub async fn serve(context: Arc<Context>, listener: TcpListener, routes: Router) {
    let longest = context.config.webhook_body_limit;
    let slots = Arc::new(Slots::new(STRANGE_BYTES_MAX.max(longest.saturating_mul(STRANGE_BODIES))));
    let serve = async {
        loop {
            match listener.accept().await {
                Ok((stream, from)) => {
                    let Some(slot) = slots.slot(from.ip()).await else { return };
                    tokio::spawn(converse(context.clone(), slot, stream, routes.clone()));
                }
                Err(error) => {
                    if let Some(pause) = pause_after(error.kind()) {
                        tracing::error!(%error, "a connection cannot be accepted");
                        tokio::time::sleep(pause).await;
                    }
                }
            }
        }
    };
    tokio::select! {
        () = serve => {}
        () = context.stopping() => {}
    }
}

/// How long the listener waits after a connection that it could not accept. One that its other side has ended already
/// concerns no other; anything else, such as a want of descriptors, would be there again at once. Pure.
fn pause_after(error: ErrorKind) -> Option<Duration> {
    (error != ErrorKind::ConnectionAborted).then_some(ACCEPT_RETRY)
}

/// One connection, to its end.
async fn converse(context: Arc<Context>, slot: Arc<Slot>, stream: TcpStream, routes: Router) {
    let routes = TowerToHyperService::new(routes);
    let answer = service_fn(|mut request: Request<Incoming>| {
        slot.waits();
        request.extensions_mut().insert(slot.clone());
        let answer = routes.call(request);
        async {
            let answer = answer.await;
            slot.waits();
            answer
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_DEADLINE).max_buf_size(HEAD_BYTES_MAX);
    let mut talk = pin!(http.serve_connection(TokioIo::new(stream), answer));
    let ended = tokio::select! {
        ended = talk.as_mut() => ended,
        // A platform that repeats requests sends again the one that was on its way.
        () = slot.makes_room() => return,
        () = context.stopping() => {
            talk.as_mut().graceful_shutdown();
            talk.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_listener_waits_after() {
        for (error, waits) in [
            (ErrorKind::ConnectionAborted, false),
            (ErrorKind::ConnectionReset, true),
            (ErrorKind::QuotaExceeded, true),
            (ErrorKind::Other, true),
        ] {
            assert_eq!(pause_after(error), waits.then_some(ACCEPT_RETRY), "{error}");
        }
    }
}
