use super::*;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use vestibule_plugin_api::testing::{self, Answer, ScriptedRuntime};

/// A server, and a started channel that is connected to it.
async fn started(runtime: &ScriptedRuntime) -> (DeskChannel, TcpListener, BufReader<TcpStream>) {
    let server = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = server.local_addr().expect("bound");
    let config = testing::config::<DeskChannel>(&format!(r#"{{ "server": "{at}" }}"#)).expect("it fits");
    let channel = DeskChannel::start(config, runtime.runtime("main")).await.expect("it starts");
    let connection = server.accept().await.expect("it connects").0;
    (channel, server, BufReader::new(connection))
}

async fn says(connection: &mut BufReader<TcpStream>, line: &str) {
    connection.get_mut().write_all(format!("{line}\n").as_bytes()).await.expect("sent");
}

async fn hears(connection: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    connection.read_line(&mut line).await.expect("a line");
    line.trim_end().to_owned()
}

#[tokio::test]
async fn a_line_is_a_message_and_a_reply_is_lines_of_plain_words() {
    let runtime = ScriptedRuntime::new();
    let (channel, _server, mut connection) = started(&runtime).await;
    says(&mut connection, "no message").await;
    says(&mut connection, "ann: hello").await;
    let heard = runtime.next_message().await;
    assert_eq!((heard.sender.handle.as_str(), heard.text.as_str(), heard.is_mention), ("ann", "hello", true));
    let text = "**Good** day,\n\n- ann\n- <bob>";
    channel.deliver(testing::text("desk", heard.platform_id.as_str(), text)).await.expect("delivered");
    for want in ["ann: Good day,", "ann: \u{2022} ann", "ann: \u{2022} <bob>"] {
        assert_eq!(hears(&mut connection).await, want);
    }
    assert_eq!(runtime.faults(), [""; 0]);
    channel.stop().await;
}

#[tokio::test]
async fn a_reply_goes_on_where_the_connection_ended() {
    let runtime = ScriptedRuntime::new();
    let (channel, server, connection) = started(&runtime).await;
    drop(connection);
    let mut connection = BufReader::new(server.accept().await.expect("it connects again").0);
    says(&mut connection, "ann: count").await;
    runtime.next_message().await;
    let reply = testing::text("desk", "ann", "one\ntwo\nthree");
    let sent_so_far = Some(SentSoFar { parts: 1, ..SentSoFar::default() });
    channel.deliver(OutboundMessage { sent_so_far, ..reply }).await.expect("delivered");
    assert_eq!(hears(&mut connection).await, "ann: two");
    assert_eq!(hears(&mut connection).await, "ann: three");
    let parts: Vec<u32> = runtime.sent_so_far().iter().map(|(_, so_far)| so_far.parts).collect();
    assert_eq!(parts, [2, 3]);
    channel.stop().await;
}

#[tokio::test]
async fn what_is_not_on_disk_yet_is_held() {
    let runtime = ScriptedRuntime::new();
    runtime.answer(Answer::Retry("the disk is full".into()));
    let (channel, _server, mut connection) = started(&runtime).await;
    says(&mut connection, "ann: hello").await;
    says(&mut connection, "bob: hello").await;
    let first = runtime.next_message().await;
    runtime.answer(Answer::AsUsual);
    let again = runtime.next_message().await;
    assert_eq!((first.event_id, again.sender.handle.as_str()), (again.event_id, "ann"));
    assert_eq!(runtime.next_message().await.sender.handle, "bob");
    channel.stop().await;
}

#[tokio::test]
async fn what_cannot_be_delivered_is_refused() {
    let runtime = ScriptedRuntime::new();
    let (channel, _server, connection) = started(&runtime).await;
    let odd = channel.deliver(testing::text("desk", "two\nlines", "hello")).await;
    assert!(matches!(odd, Err(PluginError::Refused { .. })), "{odd:?}");
    drop(connection);
    channel.stop().await;
    let unreached = channel.deliver(testing::text("desk", "ann", "hello")).await;
    assert!(matches!(unreached, Err(PluginError::Retry { in_doubt: false, .. })), "{unreached:?}");
}
