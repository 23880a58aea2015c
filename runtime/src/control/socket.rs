//! The unix socket of the home, mode 0600. The token keeps out processes that share our user id and can reach the
//! socket, but cannot read the token: sandboxes and plugin children.

use super::frame::{LINE_BYTES_MAX, Request, Response};
use crate::context::Context;
use crate::error::{IoContext, Result};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use subtle::ConstantTimeEq;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

/// A connection that could not be taken is tried again after this.
const ACCEPT_RETRY: std::time::Duration = std::time::Duration::from_millis(100);

/// Opens the socket and serves it until the runtime stops. The home's lock is held, so a socket that lies there is
/// one of a dead runtime.
///
/// # Errors
/// The socket cannot be made.
pub fn listen(context: &Arc<Context>) -> Result<()> {
    let path = context.home.control_socket();
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).context(|| {
        format!("cannot open the control socket {}; a shorter VESTIBULE_HOME may help", path.display())
    })?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))
        .context(|| format!("cannot protect {}", path.display()))?;
    let token = context.home.token()?;
    let context = context.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    match accepted {
                        Ok((stream, _)) => {
                            tokio::spawn(serve(context.clone(), stream, token.clone()));
                        }
                        // Out of descriptors, for example: the next try waits for one to come free.
                        Err(_) => tokio::time::sleep(ACCEPT_RETRY).await,
                    }
                }
                () = context.stopping() => return,
            }
        }
    });
    Ok(())
}

async fn serve(context: Arc<Context>, stream: UnixStream, token: String) {
    let (from, mut to) = stream.into_split();
    let mut from = BufReader::new(from);
    loop {
        let mut line = Vec::new();
        let limit = LINE_BYTES_MAX as u64 + 1;
        match (&mut from).take(limit).read_until(b'\n', &mut line).await {
            Ok(1..) => {}
            _ => return,
        }
        let response = match answer(&context, &line, &token).await {
            Ok(value) => Response::Result(value),
            Err(error) => Response::Error(error.to_string()),
        };
        let mut bytes = serde_json::to_vec(&response).unwrap_or_default();
        bytes.push(b'\n');
        if to.write_all(&bytes).await.is_err() || !line.ends_with(b"\n") {
            return;
        }
    }
}

async fn answer(context: &Arc<Context>, line: &[u8], token: &str) -> Result<serde_json::Value> {
    use crate::error::Error;
    if line.len() > LINE_BYTES_MAX {
        return Err(Error::Refused(format!("a request may have {LINE_BYTES_MAX} bytes at most")));
    }
    let request: Request = serde_json::from_slice(line)
        .map_err(|error| Error::Refused(format!("the request cannot be read: {error}")))?;
    if !bool::from(request.token.as_bytes().ct_eq(token.as_bytes())) {
        return Err(Error::refused("the token is wrong; it is in control.token in the home"));
    }
    super::dispatch(context, &request.verb, request.args).await
}
