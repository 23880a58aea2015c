//! A WebSocket as a client has it: messages of text, bounded; and its end is noticed even where nothing tells of it.

use super::http::provide_tls;
use crate::{Failure, PluginError, Result};
use futures_util::{SinkExt, StreamExt};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::{self, Message, protocol::WebSocketConfig};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

/// How long a connection may take to be made, and one message to be sent.
const OPEN_PATIENCE: Duration = Duration::from_secs(15);
const SEND_PATIENCE: Duration = Duration::from_secs(10);

/// One connection.
pub struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    platform: &'static str,
    /// When nothing came for so long, it is asked whether it is still there; after twice that it is not.
    quiet: Duration,
    heard: Instant,
    asked: bool,
}

impl Socket {
    /// Connects. A message of more than `bytes_max` ends the connection, and so does it when nothing at all comes for
    /// twice `quiet`, although it was asked.
    ///
    /// # Errors
    /// A failure of the network, without the URL, which may hold a ticket.
    pub async fn open(
        url: &str,
        platform: &'static str,
        bytes_max: usize,
        quiet: Duration,
    ) -> Result<Socket> {
        provide_tls();
        let limits =
            WebSocketConfig::default().max_message_size(Some(bytes_max)).max_frame_size(Some(bytes_max));
        let connect = connect_async_with_config(url, Some(limits), true);
        let connected = timeout(OPEN_PATIENCE, connect).await;
        let (stream, _) = connected
            .map_err(|_| Failure::network(false).error(format!("{platform} opens no WebSocket in time")))?
            .map_err(|error| ended(platform, &error))?;
        Ok(Socket { stream, platform, quiet, heard: Instant::now(), asked: false })
    }

    /// The next message. It may be dropped while it waits, and asked again.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn next(&mut self) -> Result<String> {
        loop {
            let silent = self.heard + self.quiet * if self.asked { 2 } else { 1 };
            let came = tokio::select! {
                // What has come counts first: the caller may have been away for long.
                biased;
                came = self.stream.next() => came,
                () = sleep_until(silent) => {
                    if self.asked {
                        let words = format!("{} said nothing any more on its WebSocket", self.platform);
                        return Err(Failure::network(false).error(words));
                    }
                    self.asked = true;
                    self.write(Message::Ping(Default::default())).await?;
                    continue;
                }
            };
            (self.heard, self.asked) = (Instant::now(), false);
            match came {
                Some(Ok(Message::Text(text))) => return Ok(text.as_str().to_owned()),
                // The pong is sent by whatever reads or writes next: here.
                Some(Ok(Message::Ping(_))) => self.flush().await?,
                Some(Ok(Message::Close(_))) | None => {
                    let words = format!("{} closed its WebSocket", self.platform);
                    return Err(Failure::network(false).error(words));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(ended(self.platform, &error)),
            }
        }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn send(&mut self, text: String) -> Result<()> {
        self.write(Message::Text(text.into())).await
    }

    /// Ends the connection, as far as the other side listens.
    pub async fn close(mut self) {
        let _ = timeout(Duration::from_secs(1), self.stream.close(None)).await;
    }

    async fn write(&mut self, message: Message) -> Result<()> {
        let sent = timeout(SEND_PATIENCE, self.stream.send(message)).await;
        self.done(sent)
    }

    async fn flush(&mut self) -> Result<()> {
        let sent = timeout(SEND_PATIENCE, self.stream.flush()).await;
        self.done(sent)
    }

    fn done<E>(&self, sent: std::result::Result<tungstenite::Result<()>, E>) -> Result<()> {
        let stalled = || Failure::network(true).error(format!("{} takes nothing any more", self.platform));
        sent.map_err(|_| stalled())?.map_err(|error| ended(self.platform, &error))
    }
}

fn ended(platform: &str, error: &tungstenite::Error) -> PluginError {
    let words = match error {
        tungstenite::Error::Capacity(_) => "it sent more than fits".to_owned(),
        tungstenite::Error::Http(answer) => format!("it answered {}", answer.status().as_u16()),
        tungstenite::Error::Url(_) => "its address is no WebSocket's".to_owned(),
        error => super::http::words(&error.to_string()),
    };
    Failure::network(false).error(format!("{platform}'s WebSocket ended: {words}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    const QUIET: Duration = Duration::from_millis(200);

    async fn server() -> (TcpListener, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("ws://{}/", listener.local_addr().expect("an address"));
        (listener, url)
    }

    #[tokio::test]
    async fn messages_go_both_ways_and_pings_keep_it_open() {
        let (listener, url) = server().await;
        let other = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a connection");
            let mut stream = tokio_tungstenite::accept_async(stream).await.expect("a WebSocket");
            stream.send(Message::Text("hello".into())).await.expect("it listens");
            let mut pings = 0;
            while let Some(Ok(message)) = stream.next().await {
                match message {
                    Message::Ping(_) if pings < 3 => pings += 1,
                    // The answer to a ping goes out by itself with the next read.
                    Message::Ping(_) => stream.send(Message::Text("late".into())).await.expect("it listens"),
                    Message::Text(text) => return text.as_str().to_owned(),
                    _ => {}
                }
            }
            String::new()
        });
        let mut socket = Socket::open(&url, "it", 1_000, QUIET).await.expect("it opens");
        assert_eq!(socket.next().await.as_deref(), Ok("hello"));
        assert_eq!(socket.next().await.as_deref(), Ok("late"), "pongs are signs of life");
        socket.send("bye".into()).await.expect("it is open");
        assert_eq!(other.await.expect("it ends"), "bye");
    }

    #[tokio::test]
    async fn a_dead_connection_is_noticed_and_a_large_message_ends_it() {
        let (listener, url) = server().await;
        let other = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a connection");
            // It never reads again: no ping is answered.
            let dead = tokio_tungstenite::accept_async(stream).await.expect("a WebSocket");
            let (stream, _) = listener.accept().await.expect("a connection");
            let mut large = tokio_tungstenite::accept_async(stream).await.expect("a WebSocket");
            large.send(Message::Text("x".repeat(2_000).into())).await.expect("it listens");
            (dead, large)
        });
        let mut socket = Socket::open(&url, "it", 1_000, QUIET).await.expect("it opens");
        let error = socket.next().await.expect_err("it is dead");
        assert!(error.reason().contains("said nothing"), "{error:?}");
        let mut socket = Socket::open(&url, "it", 1_000, QUIET).await.expect("it opens");
        let error = socket.next().await.expect_err("it is too large");
        assert!(error.reason().contains("more than fits"), "{error:?}");
        drop(other.await);
        let error =
            Socket::open("ws://127.0.0.1:1/ticket", "it", 1_000, QUIET).await.err().expect("no server");
        assert!(!error.reason().contains("ticket"), "{error:?}");
    }
}
