//! The listener's connections: so many at once, and none that keeps others out by saying nothing.

use crate::house::House;
use axum::Router;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// How many connections are open at once. For one more, the one that has waited longest for a request is
/// closed; while each of them is being answered, the next waits outside.
const OPEN_MAX: usize = 256;
/// The head of a request must be whole this long after its connection opened, or after the answer before it.
const HEAD_DEADLINE: Duration = Duration::from_secs(30);
/// Between two looks for a connection that can be closed.
const CLOSE_EVERY: Duration = Duration::from_millis(100);
/// What cannot be accepted, for want of descriptors say, is tried again after this.
const ACCEPT_RETRY: Duration = Duration::from_secs(1);

/// Serves connections until the house stops; what is being answered then is answered.
pub async fn serve(house: Arc<House>, listener: TcpListener, routes: Router) {
    let seats = Arc::new(Seats { free: Arc::new(Semaphore::new(OPEN_MAX)), waiting: Mutex::default() });
    let serve = async {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let Some(seat) = Seats::seat(&seats).await else { return };
                    tokio::spawn(converse(house.clone(), seat, stream, routes.clone()));
                }
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::error!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
    };
    tokio::select! {
        () = serve => {}
        () = house.stopping() => {}
    }
}

/// One connection, to its end.
async fn converse(house: Arc<House>, seat: Seat, stream: TcpStream, routes: Router) {
    let routes = TowerToHyperService::new(routes);
    let answer = service_fn(|request| {
        let (seat, answer) = (&seat, routes.call(request));
        async move {
            seat.works();
            let answer = answer.await;
            seat.waits();
            answer
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_DEADLINE);
    let mut talk = pin!(http.serve_connection(TokioIo::new(stream), answer));
    let ended = tokio::select! {
        ended = talk.as_mut() => ended,
        // It waited for longest. A request that came at this very moment is sent again, by whoever does that.
        () = seat.leave.notified() => return,
        () = house.stopping() => {
            talk.as_mut().graceful_shutdown();
            talk.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended");
    }
}

/// The seats for connections, and who sits there without a request: those that wait longest first.
struct Seats {
    free: Arc<Semaphore>,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    last: u64,
    by_turn: BTreeMap<u64, Arc<Notify>>,
}

impl Seats {
    /// A seat for a new connection, as soon as there is one.
    async fn seat(seats: &Arc<Seats>) -> Option<Seat> {
        let mut free = pin!(seats.free.clone().acquire_owned());
        let permit = loop {
            match tokio::time::timeout(Duration::ZERO, free.as_mut()).await {
                Ok(permit) => break permit.ok()?,
                Err(_) => seats.close_longest(),
            }
            if let Ok(permit) = tokio::time::timeout(CLOSE_EVERY, free.as_mut()).await {
                break permit.ok()?;
            }
        };
        let seat =
            Seat { seats: seats.clone(), leave: Arc::default(), turn: AtomicU64::default(), _permit: permit };
        seat.waits();
        Some(seat)
    }

    fn close_longest(&self) {
        if let Some((_, leave)) = self.waiting().by_turn.pop_first() {
            leave.notify_one();
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's seat. Dropped, it is free.
struct Seat {
    seats: Arc<Seats>,
    leave: Arc<Notify>,
    /// Its place among those that wait; 0 while a request is answered.
    turn: AtomicU64,
    _permit: OwnedSemaphorePermit,
}

impl Seat {
    /// From now on it waits for a request.
    fn waits(&self) {
        let mut waiting = self.seats.waiting();
        waiting.last += 1;
        let turn = waiting.last;
        self.turn.store(turn, Ordering::Relaxed);
        waiting.by_turn.insert(turn, self.leave.clone());
    }

    /// From now on a request is answered: it is not closed for another.
    fn works(&self) {
        self.seats.waiting().by_turn.remove(&self.turn.swap(0, Ordering::Relaxed));
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.works();
    }
}
